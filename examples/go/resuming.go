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

// Before a stream is opened again, a random time between the first and a bound that doubles up to the second.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// resumingChat is one user in one room: a chat that outlives its connection and its server. It connects again, goes on where it was, and
// loses and repeats nothing.
//
// What comes in: every new stream joins the room after the last message that the one before has received. What goes out: every message has
// an id of its own and is kept until it is answered; what was not, is sent again on the next stream, and the server publishes an id once. A
// stream outlives the access token that it began with: before that expires, the stream is sent the next.
//
// One goroutine runs it, another may send.
type resumingChat struct {
	client  userpb.UserServiceClient
	room    string
	user    string
	history uint32
	onLost  func(error)
	session *session // nil: there is no token to renew.
	outbox  *outbox

	joined      bool
	epoch       string
	after       uint64 // Where the next stream goes on.
	shown       uint64 // The last message that was received.
	backoff     time.Duration
	reconnectAt time.Time // As the server asked when it announced its end; otherwise zero.
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

// finish lets run end when everything sent is answered.
func (c *resumingChat) finish() {
	c.outbox.finish()
}

// run hands on what the room says, each message once, and the events that the caller should know of. A joined comes with every new stream;
// the Nth of a rejected counts the messages that were given to send. It returns the error of a call that would fail again.
func (c *resumingChat) run(ctx context.Context, show func(*userpb.ChatMessage)) error {
	// The first call says if there is no connection, later ones wait for it.
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
	// In no room at first: only a join can say where to go on.
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

// sendAll sends until the call has ended, or there is nothing more to say. What goes wrong with the call, its receiving side says.
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

// next returns what to send next, and the token that the stream has then: in time the message is the next token.
func (c *resumingChat) next(ctx context.Context, token accessToken) (*userpb.ChatMessage, accessToken) {
	message, late := c.outbox.next(ctx, token.renewAt)
	if !late {
		return message, token
	}
	token, err := c.session.token()
	if err != nil {
		// The stream ends with its token. The next one says what is wrong, if it still is.
		return c.next(ctx, accessToken{})
	}
	renewal := &userpb.RefreshToken{Token: token.value}
	return &userpb.ChatMessage{Event: &userpb.ChatMessage_RefreshToken{RefreshToken: renewal}}, token
}

// take returns whether the caller should see the message.
func (c *resumingChat) take(message *userpb.ChatMessage) (bool, error) {
	switch event := message.GetEvent().(type) {
	case nil:
		c.outbox.answered(message.GetId())
		if message.GetSeq() <= c.shown {
			return false, nil
		}
		c.after, c.shown = message.GetSeq(), message.GetSeq()
	case *userpb.ChatMessage_Joined:
		if !c.joined {
			c.after = event.Joined.GetHeadSeq()
		} else if !event.Joined.GetRecovered() {
			// Other numbers than ours, or too few of them: a gap follows, if anything is missing.
			c.after, c.shown = 0, 0
		}
		c.joined, c.epoch, c.backoff = true, event.Joined.GetEpoch(), minBackoff
		c.outbox.open()
	case *userpb.ChatMessage_Gap:
		c.after, c.shown = event.Gap.GetToSeq(), event.Gap.GetToSeq()
	case *userpb.ChatMessage_Duplicate:
		// A stream before has published it. It is shown like the others, in its place.
		c.outbox.answered(message.GetId())
		return false, nil
	case *userpb.ChatMessage_Rejected:
		rejected := event.Rejected
		switch {
		case rejected.GetNth() == 1: // The join.
			return false, errorOf(rejected)
		case rejected.GetRetryAfter() != nil:
			rejected.Nth = c.outbox.again(rejected.GetId(), rejected.GetRetryAfter().AsDuration())
		default:
			rejected.Nth = c.outbox.answered(rejected.GetId())
		}
	case *userpb.ChatMessage_Draining:
		c.outbox.hold()
		c.reconnectAt = time.Now().Add(event.Draining.GetReconnectAfter().AsDuration())
	}
	return true, nil
}

// delay returns the time until the next stream, and whether one makes sense at all.
func (c *resumingChat) delay(err error) (time.Duration, bool) {
	askedFor, again := retryDelay(err)
	if c.session != nil && reasonOf(err) == "TOKEN_EXPIRED" {
		c.session.expired()
		again = true
	}
	if !c.reconnectAt.IsZero() {
		askedFor, c.reconnectAt = time.Until(c.reconnectAt), time.Time{}
		return askedFor, again
	}
	c.backoff = min(2*c.backoff, maxBackoff)
	return askedFor + minBackoff + mathrand.N(c.backoff-minBackoff), again
}
