package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"rialto-example/userpb"
)

// chat sends the lines of standard input to one room, and prints what arrives. It ends at the end of the input, but not before it has received
// the expected number of messages.
func chat(ctx context.Context, client userpb.UserServiceClient, room, user string, history uint32, expect int, session *session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	chat := newResumingChat(client, room, user, history, showLost, session)
	enough := make(chan struct{})
	if expect <= 0 {
		close(enough)
	}
	go func() {
		if err := sendLines(ctx, chat); err != nil {
			cancel(err)
			return
		}
		<-enough
		chat.finish()
	}()

	received := 0
	joined := "ready"
	err := chat.run(ctx, func(message *userpb.ChatMessage) {
		if message.GetJoined() != nil {
			note("%s", joined)
			joined = "reconnected"
		}
		showMessage(message)
		if message.GetText() != "" {
			received++
			if received == expect {
				close(enough)
			}
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func sendLines(ctx context.Context, chat *resumingChat) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		text := strings.ToValidUTF8(lines.Text(), "\uFFFD")
		if text == "" {
			continue
		}
		if err := chat.send(ctx, text); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	return nil
}

func showMessage(message *userpb.ChatMessage) {
	switch event := message.GetEvent().(type) {
	case nil:
		fmt.Printf("%d %s: %s\n", message.GetSeq(), message.GetUserId(), message.GetText())
	case *userpb.ChatMessage_Rejected:
		again := ""
		if delay := event.Rejected.GetRetryAfter(); delay != nil {
			again = fmt.Sprintf(", trying again in %s", delay.AsDuration())
		}
		note("rejected: message %d: %s: %s%s", event.Rejected.GetNth(), event.Rejected.GetReason(), event.Rejected.GetDetail(), again)
	case *userpb.ChatMessage_Gap:
		note("missing: messages %d to %d", event.Gap.GetFromSeq(), event.Gap.GetToSeq())
	case *userpb.ChatMessage_Draining:
		note("the server is shutting down, reconnecting in %s", event.Draining.GetReconnectAfter().AsDuration())
	}
}

func showLost(err error) {
	reason, _, _ := strings.Cut(describe(err), "\n")
	note("not connected: %s; trying again", reason)
}

func note(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}
