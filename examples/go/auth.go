package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"rialto-example/authpb"
)

// An access token is refreshed this long before it expires, or after two thirds of its lifetime if that is earlier.
const margin = 30 * time.Second

type accessToken struct {
	value   string
	renewAt time.Time
}

// session is a login and its tokens. It is safe for concurrent use.
type session struct {
	client authpb.AuthServiceClient
	login  *authpb.LoginRequest

	mu           sync.Mutex // Also held while tokens are refreshed.
	access       accessToken
	refreshToken string
}

// newSession returns a session that logs in with the first call on the connection passed to use.
func newSession(name, password string) *session {
	return &session{login: &authpb.LoginRequest{Username: name, Password: password}}
}

func (s *session) use(connection grpc.ClientConnInterface) {
	s.client = authpb.NewAuthServiceClient(connection)
}

// token returns an access token that is valid for a while. Callers wait while it is refreshed: a refresh token can be used only once. For the
// same reason a refresh has a context of its own: a caller that cancels must not discard the response.
func (s *session) token() (accessToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.access.renewAt) {
		return s.access, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	tokens, err := s.renew(ctx)
	if err != nil {
		return accessToken{}, err
	}
	life := tokens.GetAccessExpiresIn().AsDuration()
	s.access = accessToken{value: tokens.GetAccessToken(), renewAt: now.Add(life - min(margin, life/3))}
	s.refreshToken = tokens.GetRefreshToken()
	return s.access, nil
}

// value returns the token alone, for interceptors.
func (s *session) value() (string, error) {
	token, err := s.token()
	return token.value, err
}

func (s *session) renew(ctx context.Context) (*authpb.Tokens, error) {
	if s.refreshToken != "" {
		response, err := s.client.Refresh(ctx, &authpb.RefreshRequest{RefreshToken: s.refreshToken})
		// Otherwise the session has ended: it expired, or the response to the last refresh was lost.
		if status.Code(err) != codes.Unauthenticated {
			return response.GetTokens(), err
		}
	}
	response, err := s.client.Login(ctx, s.login)
	return response.GetTokens(), err
}

// expired discards an access token that the server has rejected as expired, for example after this machine has slept.
func (s *session) expired() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access = accessToken{}
}

func (s *session) logout() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refreshToken == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	// Without a logout the session expires by itself.
	_, _ = s.client.Logout(ctx, &authpb.LogoutRequest{RefreshToken: s.refreshToken})
}

// bearer returns the token for a call. It uses interceptors, because gRPC does not send call credentials without TLS.
type bearer func() (string, error)

func (b bearer) interceptors() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(b.unary), grpc.WithChainStreamInterceptor(b.stream)}
}

func (b bearer) unary(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption) error {
	ctx, err := b.authorize(ctx, method)
	if err != nil {
		return err
	}
	return invoke(ctx, method, request, reply, connection, options...)
}

func (b bearer) stream(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, err := b.authorize(ctx, method)
	if err != nil {
		return nil, err
	}
	return open(ctx, description, connection, method, options...)
}

func (b bearer) authorize(ctx context.Context, method string) (context.Context, error) {
	if strings.HasPrefix(method, "/"+authpb.AuthService_ServiceDesc.ServiceName+"/") {
		return ctx, nil // These calls obtain the tokens.
	}
	token, err := b()
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), err
}

// isLoopback reports whether HOST:PORT is a loopback address, to which secrets may be sent without TLS.
func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
