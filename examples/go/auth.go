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

// An access token is renewed so long before it expires, or at two thirds of its life if that is short.
const margin = 30 * time.Second

type accessToken struct {
	value   string
	renewAt time.Time
}

// session is a login and the tokens that came of it, for any number of goroutines.
type session struct {
	client authpb.AuthServiceClient
	login  *authpb.LoginRequest

	mu           sync.Mutex // Held while tokens are renewed, too.
	access       accessToken
	refreshToken string
}

// newSession returns one that will log in with the first call on the connection that it is given to.
func newSession(name, password string) *session {
	return &session{login: &authpb.LoginRequest{Username: name, Password: password}}
}

func (s *session) use(connection grpc.ClientConnInterface) {
	s.client = authpb.NewAuthServiceClient(connection)
}

// token returns an access token that is good for a while yet. Who comes while it is being renewed waits: a refresh token can be used only
// once. For the same reason the calls have a context of their own: a caller who gives up must not take the answer with him.
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
		// It may have ended: too old, or the answer to the last refresh was lost on its way.
		if status.Code(err) != codes.Unauthenticated {
			return response.GetTokens(), err
		}
	}
	response, err := s.client.Login(ctx, s.login)
	return response.GetTokens(), err
}

// expired says that the server does not take the access token any more, as after this machine has slept.
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
	// A session that is not ended here expires.
	_, _ = s.client.Logout(ctx, &authpb.LogoutRequest{RefreshToken: s.refreshToken})
}

// bearer returns the token to put on a call. It works in interceptors, since call credentials do not go over a connection without TLS.
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
		return ctx, nil // These calls are how a token is got.
	}
	token, err := b()
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), err
}

// isLoopback returns whether HOST:PORT is this machine, to which secrets may go without TLS.
func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
