package main

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"rialto-example/authpb"
)

// shortLogin returns a first token that has already expired, and the next one once all callers wait for it. It counts calls.
type shortLogin struct {
	authpb.AuthServiceClient
	callers           sync.WaitGroup
	logins, refreshes atomic.Int32
}

func (s *shortLogin) Login(context.Context, *authpb.LoginRequest, ...grpc.CallOption) (*authpb.LoginResponse, error) {
	s.logins.Add(1)
	return &authpb.LoginResponse{Tokens: &authpb.Tokens{AccessToken: "first", RefreshToken: "once"}}, nil
}

func (s *shortLogin) Refresh(context.Context, *authpb.RefreshRequest, ...grpc.CallOption) (*authpb.RefreshResponse, error) {
	s.refreshes.Add(1)
	s.callers.Wait()
	hour := durationpb.New(time.Hour)
	return &authpb.RefreshResponse{Tokens: &authpb.Tokens{AccessToken: "next", AccessExpiresIn: hour, RefreshToken: "later"}}, nil
}

func TestManyCallsWaitForOneRefresh(t *testing.T) {
	server := &shortLogin{}
	session := newSession("ada", "battery staple")
	session.client = server
	if first, err := session.value(); err != nil || first != "first" {
		t.Fatal(first, err)
	}
	const callers = 20
	server.callers.Add(callers)
	var calls sync.WaitGroup
	for range callers {
		calls.Go(func() {
			server.callers.Done()
			if token, err := session.value(); err != nil || token != "next" {
				t.Error(token, err)
			}
		})
	}
	calls.Wait()
	if logins, refreshes := server.logins.Load(), server.refreshes.Load(); logins != 1 || refreshes != 1 {
		t.Fatal(logins, refreshes)
	}
}
