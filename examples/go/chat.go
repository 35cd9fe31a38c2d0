package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc/metadata"

	"rialto-example/userpb"
)

// chat sends lines of standard input to one room and prints what arrives in it. It half-closes after the end of the input, but not
// before it has received the expected number of messages.
func chat(ctx context.Context, client userpb.UserServiceClient, room, user string, expect int) error {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "rialto-rooms", room))
	defer cancel()

	call, err := client.Chat(ctx)
	if err != nil {
		return err
	}
	// Headers mean that the join holds: nothing said from now on is missed. A call that is refused has none, and receiving says why.
	headers, err := call.Header()
	if err != nil {
		return err
	}
	enough := make(chan struct{})
	if headers != nil {
		fmt.Fprintln(os.Stderr, "ready")
		go func() {
			if err := sendLines(call, room, user, enough); err != nil {
				fmt.Fprintln(os.Stderr, err)
				cancel()
			}
		}()
	}
	return printMessages(call, expect, enough)
}

func sendLines(call userpb.UserService_ChatClient, room, user string, enough <-chan struct{}) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		// With an id of our own, sending the message again after a lost connection cannot publish it twice.
		message := &userpb.ChatMessage{Room: room, UserId: user, Id: rand.Text(), Text: lines.Text()}
		if err := call.Send(message); errors.Is(err, io.EOF) {
			return nil // The call has ended; the receiving side says why.
		} else if err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	select {
	case <-enough:
		return call.CloseSend()
	case <-call.Context().Done():
		return nil
	}
}

func printMessages(call userpb.UserService_ChatClient, expect int, enough chan<- struct{}) error {
	received := 0
	if expect <= 0 {
		close(enough)
	}
	for {
		message, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		showMessage(message)
		if message.GetText() != "" {
			received++
			if received == expect {
				close(enough)
			}
		}
	}
}

func showMessage(message *userpb.ChatMessage) {
	switch event := message.GetEvent().(type) {
	case nil:
		fmt.Printf("%d %s: %s\n", message.GetSeq(), message.GetUserId(), message.GetText())
	case *userpb.ChatMessage_Rejected:
		again := ""
		if delay := event.Rejected.GetRetryAfter(); delay != nil {
			again = fmt.Sprintf(", try again in %s", delay.AsDuration())
		}
		note("rejected: message %d: %s: %s%s", event.Rejected.GetNth(), event.Rejected.GetReason(), event.Rejected.GetDetail(), again)
	case *userpb.ChatMessage_Duplicate:
		note("duplicate: message %s was published before, as %d", message.GetId(), message.GetSeq())
	case *userpb.ChatMessage_Gap:
		note("missing: messages %d to %d", event.Gap.GetFromSeq(), event.Gap.GetToSeq())
	case *userpb.ChatMessage_Draining:
		note("the server is shutting down, reconnect in %s", event.Draining.GetReconnectAfter().AsDuration())
	}
}

func note(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}
