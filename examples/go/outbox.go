package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"rialto-example/userpb"
)

// A sender waits while so many messages are not answered.
const maxUnanswered = 256

// outbox keeps messages until they are answered, in order.
type outbox struct {
	places  chan struct{} // Holds an element for each message that is not answered.
	changed chan struct{} // Wakes the one goroutine that sends.

	mu         sync.Mutex
	unanswered []*unanswered
	number     uint64
	finished   bool
	from       time.Time // When to send; zero: not on this stream.
	window     int       // So many may be under way.
}

type unanswered struct {
	message *userpb.ChatMessage
	number  uint64
	sent    bool
}

func newOutbox() *outbox {
	return &outbox{places: make(chan struct{}, maxUnanswered), changed: make(chan struct{}, 1), window: maxUnanswered}
}

// put waits for a place.
func (o *outbox) put(ctx context.Context, message *userpb.ChatMessage) error {
	select {
	case o.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.mu.Lock()
	defer o.unlock()
	o.number++
	o.unanswered = append(o.unanswered, &unanswered{message: message, number: o.number})
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
	return o.finished && len(o.unanswered) == 0
}

// open lets messages go out on a stream that has joined: everything that is not answered has to be sent on it.
func (o *outbox) open() {
	o.mu.Lock()
	defer o.unlock()
	o.from = time.Now()
	for _, each := range o.unanswered {
		each.sent = false
	}
}

// hold keeps messages for the next stream.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.unlock()
	o.from = time.Time{}
}

// next waits for the next message to send. It returns nil if there will be none, or none in this stream, whose context is given; and nil
// and true at the moment until, if that is not zero.
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

// poll returns the next message to send, or that there is none left, or when to look again, beside when something has changed.
func (o *outbox) poll() (message *userpb.ChatMessage, done bool, wait <-chan time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.from.IsZero() {
		return nil, false, nil
	}
	if delay := time.Until(o.from); delay > 0 {
		return nil, false, time.After(delay)
	}
	underWay := 0
	for _, each := range o.unanswered {
		if each.sent {
			underWay++
		}
	}
	for _, each := range o.unanswered {
		if !each.sent && underWay < o.window {
			each.sent = true
			return each.message, false, nil
		}
	}
	return nil, o.finished && len(o.unanswered) == 0, nil
}

// answered returns the number that the message had, or 0 if it is none of ours.
func (o *outbox) answered(id string) uint64 {
	o.mu.Lock()
	defer o.unlock()
	for i, each := range o.unanswered {
		if each.message.GetId() == id {
			o.unanswered = slices.Delete(o.unanswered, i, i+1)
			<-o.places
			if len(o.unanswered) == 0 {
				o.window = maxUnanswered
			}
			return each.number
		}
	}
	return 0
}

// again has the message sent once more, after that time. It returns its number. From then on one is sent at a time, until none is left: all
// at once would be too many again, and out of order.
func (o *outbox) again(id string, delay time.Duration) uint64 {
	o.mu.Lock()
	defer o.unlock()
	o.window = 1
	if moment := time.Now().Add(delay); !o.from.IsZero() && moment.After(o.from) {
		o.from = moment
	}
	for _, each := range o.unanswered {
		if each.message.GetId() == id {
			each.sent = false
			return each.number
		}
	}
	return 0
}

// unlock wakes the sender too: something may have changed for it.
func (o *outbox) unlock() {
	o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
}
