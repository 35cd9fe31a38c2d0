package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"rialto-example/userpb"
)

// deadline is the deadline of unary calls: without one, a call to a server that hangs never ends.
const deadline = 10 * time.Second

// Only idempotent methods are retried.
const serviceConfig = `{
	"methodConfig": [{
		"name": [
			{"service": "user.UserService", "method": "GetUser"},
			{"service": "user.UserService", "method": "UpdateUser"},
			{"service": "user.UserService", "method": "DeleteUser"}
		],
		"retryPolicy": {
			"maxAttempts": 4,
			"initialBackoff": "0.2s",
			"maxBackoff": "2s",
			"backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`

// Reconnect soon, and with a bounded backoff: streams wait for the connection.
var reconnecting = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
	MinConnectTimeout: deadline,
}

// Keepalive pings detect a peer that disappeared, which a client that only receives would otherwise never notice.
var pings = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}

// connect returns a connection with deadlines, retries and keepalive. It connects with the first call.
func connect(server string, transport credentials.TransportCredentials, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(server, append(options,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithConnectParams(reconnecting),
		grpc.WithKeepaliveParams(pings),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
			invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			return invoke(withRequestID(ctx), method, request, reply, connection, options...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
			open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(withRequestID(ctx), description, connection, method, options...)
		}),
	)...)
}

// transport returns the transport credentials: TLS if ca is set, with a client certificate if cert and key are set.
func transport(ca, cert, key string) (credentials.TransportCredentials, error) {
	if ca == "" {
		return insecure.NewCredentials(), nil
	}
	authorities, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(authorities) {
		return nil, errors.New(ca + ": no certificate")
	}
	if cert != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), nil
}

// withRequestID adds an x-request-id, which identifies the call in logs.
func withRequestID(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", rand.Text())
}

// describe formats the status of a failed call and its details.
func describe(err error) string {
	failure, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	lines := []string{fmt.Sprintf("%s: %s", codeName(failure.Code()), failure.Message())}
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				lines = append(lines, fmt.Sprintf("  %s: %s", violation.GetField(), violation.GetDescription()))
			}
		case *errdetails.ErrorInfo:
			lines = append(lines, "  reason: "+detail.GetReason())
		}
	}
	return strings.Join(lines, "\n")
}

// codeName returns the name of a code in the gRPC documentation: NOT_FOUND instead of Go's NotFound.
func codeName(number codes.Code) string {
	return code.Code(number).String()
}

// reasonOf returns the reason in the error's details; empty if there is none.
func reasonOf(err error) string {
	failure, _ := status.FromError(err)
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// retryDelay returns the minimum delay before a retry, and false if a retry would fail.
func retryDelay(err error) (time.Duration, bool) {
	failure, _ := status.FromError(err)
	for _, detail := range failure.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration(), true
		}
	}
	switch failure.Code() {
	case codes.Unavailable:
		return 0, true
	case codes.Canceled, codes.Internal, codes.ResourceExhausted:
		// The codes that gRPC itself reports for a lost stream or connection. The server's own errors carry details.
		return 0, len(failure.Details()) == 0
	default:
		return 0, false
	}
}

// errorOf returns a rejected event as the error of its call.
func errorOf(rejected *userpb.Rejected) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: rejected.GetReason(), Domain: "rialto"}}
	if after := rejected.GetRetryAfter(); after != nil {
		details = append(details, &errdetails.RetryInfo{RetryDelay: after})
	}
	failure, err := status.New(codes.Code(rejected.GetCode()), rejected.GetDetail()).WithDetails(details...)
	if err != nil {
		return err
	}
	return failure.Err()
}
