package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"rialto-example/userpb"
)

func show(user *userpb.User) string {
	return fmt.Sprintf("%s %s %s", user.GetId(), user.GetUsername(), user.GetEmail())
}

// unary creates, gets, updates and deletes a user.
func unary(ctx context.Context, client userpb.UserServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()

	name := "ada-" + strings.ToLower(rand.Text()[:8])
	user, err := client.CreateUser(ctx, &userpb.CreateUserRequest{
		Username: name,
		Email:    name + "@example.com",
		Password: "correct horse",
	})
	if err != nil {
		return err
	}
	fmt.Println("created", show(user))

	if err := get(ctx, client, user.GetId()); err != nil {
		return err
	}

	user, err = client.UpdateUser(ctx, &userpb.UpdateUserRequest{Id: user.GetId(), Email: new(name + "@example.org")})
	if err != nil {
		return err
	}
	fmt.Println("updated", show(user))

	if _, err := client.DeleteUser(ctx, &userpb.DeleteUserRequest{Id: user.GetId()}); err != nil {
		return err
	}
	fmt.Println("deleted", user.GetId())
	return nil
}

func get(ctx context.Context, client userpb.UserServiceClient, id string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()

	user, err := client.GetUser(ctx, &userpb.GetUserRequest{Id: id})
	if err != nil {
		return err
	}
	fmt.Println("got", show(user))
	return nil
}

func list(ctx context.Context, client userpb.UserServiceClient) error {
	users, err := client.ListUsers(ctx, &userpb.ListUsersRequest{})
	if err != nil {
		return err
	}
	for {
		user, err := users.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println(show(user))
	}
}

// bulk creates all users, or none if one is invalid.
func bulk(ctx context.Context, client userpb.UserServiceClient, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()

	call, err := client.CreateUsers(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		request := &userpb.CreateUserRequest{Username: name, Email: name + "@example.com"}
		if err := call.Send(request); errors.Is(err, io.EOF) {
			break // The call has ended early; CloseAndRecv returns its error.
		} else if err != nil {
			return err
		}
	}
	response, err := call.CloseAndRecv()
	if err != nil {
		return err
	}
	for _, user := range response.GetUsers() {
		fmt.Println("created", show(user))
	}
	fmt.Printf("created %d users\n", response.GetCount())
	return nil
}
