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

// Every unary call gets a deadline: without one, a call to a server that hangs never ends.
const deadline = 10 * time.Second

// Only methods that may be repeated without harm are retried.
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

// After a lost connection try again soon, and not ever more seldom: streams wait for it.
var reconnecting = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
	MinConnectTimeout: deadline,
}

// A peer that is gone without a word would otherwise never be noticed by who only listens.
var pings = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}

// connect returns a connection as a client of a service should open one. It connects with the first call.
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

// transport returns how to speak: with the certificates of an authority, by TLS; with a certificate and its key, as its holder.
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

// withRequestID adds an x-request-id, by which the call can be found in logs.
func withRequestID(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", rand.Text())
}

// describe returns the status of a failed call and the details that the server gave, as a person can read them.
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

// codeName spells a code as the gRPC documentation does: NOT_FOUND, where Go says NotFound.
func codeName(number codes.Code) string {
	return code.Code(number).String()
}

// reasonOf returns what the server calls it, for programs, or nothing.
func reasonOf(err error) string {
	failure, _ := status.FromError(err)
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// retryDelay returns how long to wait at least before the call is made again, and false if it would fail again.
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
		// What gRPC itself says when a stream or its connection was lost. The server's own errors carry details.
		return 0, len(failure.Details()) == 0
	default:
		return 0, false
	}
}

// errorOf tells a rejected as the error of its call.
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
