package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"rialto-example/userpb"
)

// The delay before a stream is opened again is random, between the minimum and a bound that doubles up to the maximum.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// resumingChat is one user in one room. It survives lost connections and server restarts: it reconnects and resumes without loss or
// duplicates.
//
// Incoming: every new stream joins the room after the last message that was received. Outgoing: every message has an id and is kept until it
// is acknowledged; unacknowledged messages are sent again on the next stream, and the server publishes an id only once. Tokens: before the
// stream's access token expires, the client sends a new one on the stream.
//
// One goroutine calls run, and another one may call send.
type resumingChat struct {
	client  userpb.UserServiceClient
	room    string
	user    string
	history uint32
	onLost  func(error)
	session *session // nil if there is no token to renew.
	outbox  *outbox

	joined      bool
	epoch       string
	after       uint64 // The next stream resumes after this seq.
	shown       uint64 // The seq of the last message received.
	backoff     time.Duration
	reconnectAt time.Time // Set by draining; otherwise zero.
}

func newResumingChat(client userpb.UserServiceClient, room, user string, history uint32, onLost func(error),
	session *session) *resumingChat {
	return &resumingChat{
		client: client, room: room, user: user, history: history, onLost: onLost, session: session,
		outbox:  newOutbox(),
		backoff: minBackoff,
	}
}

func (c *resumingChat) send(ctx context.Context, text string) error {
	return c.outbox.put(ctx, &userpb.ChatMessage{Room: c.room, UserId: c.user, Id: rand.Text(), Text: text})
}

// finish lets run end once everything sent is acknowledged.
func (c *resumingChat) finish() {
	c.outbox.finish()
}

// run passes on the messages of the room, each once, and the events that concern the caller. There is a joined for every new stream; the Nth
// of a rejected counts the messages passed to send. It returns an error that a retry would not fix.
func (c *resumingChat) run(ctx context.Context, show func(*userpb.ChatMessage)) error {
	// The first call fails if there is no connection; later ones wait for it.
	for waitForReady := false; ; waitForReady = true {
		err := c.stream(ctx, show, waitForReady)
		if err == nil && c.outbox.isDone() {
			return nil
		}
		if err == nil {
			err = status.Error(codes.Unavailable, "the stream has ended early")
		}
		delay, again := c.delay(err)
		if !again || ctx.Err() != nil {
			return err
		}
		c.onLost(err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream makes one call and follows it to its end.
func (c *resumingChat) stream(ctx context.Context, show func(*userpb.ChatMessage), waitForReady bool) error {
	var token accessToken
	if c.session != nil {
		var err error
		if token, err = c.session.token(); err != nil {
			return err
		}
	}
	// Start in no room: only a join can resume.
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "rialto-rooms", ""))
	call, err := c.client.Chat(ctx, grpc.WaitForReady(waitForReady))
	if err != nil {
		cancel()
		return err
	}
	c.outbox.hold()
	join := c.join()
	var sending sync.WaitGroup
	sending.Go(func() { c.sendAll(ctx, call, join, token) })
	defer sending.Wait()
	defer cancel()

	for {
		message, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		visible, err := c.take(message)
		if err != nil {
			return err
		}
		if visible {
			show(message)
		}
	}
}

func (c *resumingChat) join() *userpb.ChatMessage {
	join := &userpb.Join{History: c.history}
	if c.joined {
		join = &userpb.Join{AfterSeq: new(c.after), Epoch: c.epoch}
	}
	return &userpb.ChatMessage{Room: c.room, UserId: c.user, Event: &userpb.ChatMessage_Join{Join: join}}
}

// sendAll sends until the call has ended or there is nothing more to send. The receiving side reports the error of the call.
func (c *resumingChat) sendAll(ctx context.Context, call userpb.UserService_ChatClient, join *userpb.ChatMessage, token accessToken) {
	for message := join; message != nil; message, token = c.next(ctx, token) {
		if call.Send(message) != nil {
			return
		}
	}
	if ctx.Err() == nil {
		_ = call.CloseSend()
	}
}

// next returns the next message to send, and the stream's token after it: when the token is due for renewal, the message is a new token.
func (c *resumingChat) next(ctx context.Context, token accessToken) (*userpb.ChatMessage, accessToken) {
	message, late := c.outbox.next(ctx, token.renewAt)
	if !late {
		return message, token
	}
	token, err := c.session.token()
	if err != nil {
		// The stream will end with its token, and the next one reports the error.
		return c.next(ctx, accessToken{})
	}
	renewal := &userpb.RefreshToken{Token: token.value}
	return &userpb.ChatMessage{Event: &userpb.ChatMessage_RefreshToken{RefreshToken: renewal}}, token
}

// take handles a message, and reports whether the caller should see it.
func (c *resumingChat) take(message *userpb.ChatMessage) (bool, error) {
	switch event := message.GetEvent().(type) {
	case nil:
		c.outbox.settle(message.GetId())
		if message.GetSeq() <= c.shown {
			return false, nil
		}
		c.after, c.shown = message.GetSeq(), message.GetSeq()
	case *userpb.ChatMessage_Joined:
		if !c.joined {
			c.after = event.Joined.GetHeadSeq()
		} else if !event.Joined.GetRecovered() {
			// Another epoch, or messages are missing: a gap follows unless nothing is missing.
			c.after, c.shown = 0, 0
		}
		c.joined, c.epoch, c.backoff = true, event.Joined.GetEpoch(), minBackoff
		c.outbox.open()
	case *userpb.ChatMessage_Gap:
		c.after, c.shown = event.Gap.GetToSeq(), event.Gap.GetToSeq()
	case *userpb.ChatMessage_Duplicate:
		// Published on an earlier stream. It is shown when it is delivered.
		c.outbox.settle(message.GetId())
		return false, nil
	case *userpb.ChatMessage_Rejected:
		rejected := event.Rejected
		switch {
		case rejected.GetNth() == 1: // The join.
			return false, errorOf(rejected)
		case rejected.GetRetryAfter() != nil:
			rejected.Nth = c.outbox.retry(rejected.GetId(), rejected.GetRetryAfter().AsDuration())
		default:
			rejected.Nth = c.outbox.settle(rejected.GetId())
		}
	case *userpb.ChatMessage_Draining:
		c.outbox.hold()
		c.reconnectAt = time.Now().Add(event.Draining.GetReconnectAfter().AsDuration())
	}
	return true, nil
}

// delay returns the time until the next stream, and false if it would fail too.
func (c *resumingChat) delay(err error) (time.Duration, bool) {
	minimum, again := retryDelay(err)
	if c.session != nil && reasonOf(err) == "TOKEN_EXPIRED" {
		c.session.expired()
		again = true
	}
	if !c.reconnectAt.IsZero() {
		minimum, c.reconnectAt = time.Until(c.reconnectAt), time.Time{}
		return minimum, again
	}
	c.backoff = min(2*c.backoff, maxBackoff)
	return minimum + minBackoff + mathrand.N(c.backoff-minBackoff), again
}
