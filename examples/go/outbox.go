package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"rialto-example/userpb"
)

// A sender waits while this many messages are unacknowledged.
const maxUnacknowledged = 256

// outbox keeps outgoing messages in order until they are acknowledged.
type outbox struct {
	places  chan struct{} // Has an element for each unacknowledged message.
	changed chan struct{} // Wakes the sending goroutine.

	mu             sync.Mutex
	unacknowledged []*unacknowledged
	number         uint64
	finished       bool
	from           time.Time // When sending may continue; zero while messages are held for the next stream.
	window         int       // Maximum number of messages in flight.
}

type unacknowledged struct {
	message *userpb.ChatMessage
	number  uint64
	sent    bool
}

func newOutbox() *outbox {
	return &outbox{places: make(chan struct{}, maxUnacknowledged), changed: make(chan struct{}, 1), window: maxUnacknowledged}
}

// put adds a message. It waits while the outbox is full.
func (o *outbox) put(ctx context.Context, message *userpb.ChatMessage) error {
	select {
	case o.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.mu.Lock()
	defer o.unlock()
	o.number++
	o.unacknowledged = append(o.unacknowledged, &unacknowledged{message: message, number: o.number})
	return nil
}

func (o *outbox) finish() {
	o.mu.Lock()
	defer o.unlock()
	o.finished = true
}

func (o *outbox) isDone() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.finished && len(o.unacknowledged) == 0
}

// open releases messages to a stream that has joined: it must send everything that is unacknowledged.
func (o *outbox) open() {
	o.mu.Lock()
	defer o.unlock()
	o.from = time.Now()
	for _, each := range o.unacknowledged {
		each.sent = false
	}
}

// hold holds messages for the next stream.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.unlock()
	o.from = time.Time{}
}

// next waits for the next message. It returns nil if this stream, whose context it is given, has no more to send, and nil and true at the time
// until, unless that is zero.
func (o *outbox) next(ctx context.Context, until time.Time) (message *userpb.ChatMessage, late bool) {
	for ctx.Err() == nil {
		var alarm <-chan time.Time
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 {
				return nil, true
			}
			alarm = time.After(left)
		}
		message, done, wait := o.poll()
		if message != nil || done {
			return message, false
		}
		select {
		case <-o.changed:
		case <-wait:
		case <-alarm:
		case <-ctx.Done():
		}
	}
	return nil, false
}

// poll returns the next message; or that none is left; or a channel that signals when to poll again, unless there is a change before.
func (o *outbox) poll() (message *userpb.ChatMessage, done bool, wait <-chan time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.from.IsZero() {
		return nil, false, nil
	}
	if delay := time.Until(o.from); delay > 0 {
		return nil, false, time.After(delay)
	}
	inFlight := 0
	for _, each := range o.unacknowledged {
		if each.sent {
			inFlight++
		}
	}
	for _, each := range o.unacknowledged {
		if !each.sent && inFlight < o.window {
			each.sent = true
			return each.message, false, nil
		}
	}
	return nil, o.finished && len(o.unacknowledged) == 0, nil
}

// settle removes a message that was published or finally rejected, and returns its number, or 0 if it is not in the outbox.
func (o *outbox) settle(id string) uint64 {
	o.mu.Lock()
	defer o.unlock()
	for i, each := range o.unacknowledged {
		if each.message.GetId() == id {
			o.unacknowledged = slices.Delete(o.unacknowledged, i, i+1)
			<-o.places
			if len(o.unacknowledged) == 0 {
				o.window = maxUnacknowledged
			}
			return each.number
		}
	}
	return 0
}

// retry sends the message again after the delay. It returns its number, or 0 if it is not in the outbox. Until the outbox is empty, messages are
// then sent one at a time: sending all at once would exceed the rate again, and change their order.
func (o *outbox) retry(id string, delay time.Duration) uint64 {
	o.mu.Lock()
	defer o.unlock()
	o.window = 1
	if moment := time.Now().Add(delay); !o.from.IsZero() && moment.After(o.from) {
		o.from = moment
	}
	for _, each := range o.unacknowledged {
		if each.message.GetId() == id {
			each.sent = false
			return each.number
		}
	}
	return 0
}

// unlock also wakes the sender, for which something may have changed.
func (o *outbox) unlock() {
	o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
}
