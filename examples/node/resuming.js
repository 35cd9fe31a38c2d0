// A chat that outlives its connection and its server: it connects again, goes on where it was, and loses and repeats nothing.
//
// What comes in: every new stream joins the room after the last message that the one before has received. What goes out: every message has
// an id of its own and is kept until it is answered; what was not, is sent again on the next stream, and the server publishes an id once. A
// stream outlives the access token that it began with: before that expires, the stream is sent the next.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import { errorOf, milliseconds, reasonOf, retryDelay } from './connection.js';
import { Outbox } from './outbox.js';

// Before a stream is opened again, a random time between the first and a bound that doubles up to the second, in milliseconds.
const MIN_BACKOFF = 200;
const MAX_BACKOFF = 5_000;

// A timer takes no more, in milliseconds.
const MAX_SLEEP = 2 ** 31 - 1;

/** One user in one room. */
export class ResumingChat {
  #client;
  #room;
  #user;
  #history;
  #onLost;
  #session; // Absent: there is no token to renew.
  #outbox = new Outbox();
  #epoch; // Absent: never joined.
  #after = 0n; // Where the next stream goes on.
  #shown = 0n; // The last message that was received.
  #backoff = MIN_BACKOFF;
  #reconnectAt; // As the server asked when it announced its end.

  constructor(client, { room, user, history = 0, onLost = () => {}, session }) {
    this.#client = client;
    this.#room = room;
    this.#user = user;
    this.#history = history;
    this.#onLost = onLost;
    this.#session = session;
  }

  /** Waits while too many messages are not answered. */
  async send(text) {
    await this.#outbox.put({ room: this.#room, user_id: this.#user, id: randomUUID(), text });
  }

  /** Lets `messages` end when everything sent is answered. */
  finish() {
    this.#outbox.finish();
  }

  /**
   * What the room says, each message once, and the events that the caller should know of.
   *
   * `joined` comes with every new stream. `rejected.nth` counts the messages that were given to `send`. Throws the error of a call that
   * would fail again.
   */
  async *messages() {
    // The first call says if there is no connection, later ones wait for it.
    for (let waitForReady = false; ; waitForReady = true) {
      let delay;
      try {
        yield* this.#stream(waitForReady);
        if (this.#outbox.isDone) return;
        throw errorOf({ code: grpc.status.UNAVAILABLE, reason: '', detail: 'the stream has ended early' });
      } catch (error) {
        delay = this.#delay(error);
        if (delay === undefined) throw error;
        this.#onLost(error);
      }
      await sleep(delay);
    }
  }

  /** One call, to its end. */
  async *#stream(waitForReady) {
    const token = await this.#session?.access();
    const metadata = new grpc.Metadata({ waitForReady });
    metadata.set('rialto-rooms', ''); // In no room at first: only a join can say where to go on.
    const call = this.#client.Chat(metadata);
    const renewing = new AbortController();
    if (token) this.#renew(call, token, renewing.signal);
    try {
      call.write({ room: this.#room, user_id: this.#user, join: this.#join() });
      for await (const message of call) {
        if (this.#take(message, call)) yield message;
      }
    } finally {
      renewing.abort();
      this.#outbox.hold();
      call.on('error', () => {}); // It is over, and may still say so.
      call.cancel();
    }
  }

  /** Sends the stream the next token before the one that it has expires. */
  async #renew(call, token, signal) {
    try {
      for (let { renewAt } = token; ; ) {
        await sleep(Math.min(renewAt - performance.now(), MAX_SLEEP), undefined, { signal });
        const next = await this.#session.access();
        if (signal.aborted || call.writableEnded) return;
        call.write({ refresh_token: { token: next.value } });
        ({ renewAt } = next);
      }
    } catch {
      // The stream has ended, or ends with its token. The next one says what is wrong, if it still is.
    }
  }

  #join() {
    if (this.#epoch === undefined) return { history: this.#history };
    return { after_seq: String(this.#after), epoch: this.#epoch };
  }

  /** Whether the caller should see the message. */
  #take(message, call) {
    switch (message.event) {
      case undefined: {
        this.#outbox.answered(message.id);
        const seq = BigInt(message.seq);
        if (seq <= this.#shown) return false;
        this.#after = this.#shown = seq;
        break;
      }
      case 'joined':
        if (this.#epoch === undefined) {
          this.#after = BigInt(message.joined.head_seq);
        } else if (!message.joined.recovered) {
          // Other numbers than ours, or too few of them: a `gap` follows, if anything is missing.
          this.#after = this.#shown = 0n;
        }
        this.#epoch = message.joined.epoch;
        this.#backoff = MIN_BACKOFF;
        this.#outbox.open(call);
        break;
      case 'gap':
        this.#after = this.#shown = BigInt(message.gap.to_seq);
        break;
      case 'duplicate':
        // A stream before has published it. It is shown like the others, in its place.
        this.#outbox.answered(message.id);
        return false;
      case 'rejected':
        this.#reject(message.rejected);
        break;
      case 'draining':
        this.#outbox.hold();
        this.#reconnectAt = Date.now() + milliseconds(message.draining.reconnect_after);
        break;
    }
    return true;
  }

  #reject(rejected) {
    if (rejected.nth === '1') throw errorOf(rejected); // The join.
    rejected.nth = rejected.retry_after
      ? this.#outbox.again(rejected.id, milliseconds(rejected.retry_after))
      : this.#outbox.answered(rejected.id);
  }

  /** Milliseconds until the next stream; undefined: it would fail too. */
  #delay(error) {
    let askedFor = error.metadata && retryDelay(error);
    if (this.#session && error.metadata && reasonOf(error) === 'TOKEN_EXPIRED') {
      this.#session.expired();
      askedFor = 0;
    }
    if (askedFor === undefined) return undefined;
    const reconnectAt = this.#reconnectAt;
    this.#reconnectAt = undefined;
    if (reconnectAt !== undefined) return Math.max(0, reconnectAt - Date.now());
    this.#backoff = Math.min(2 * this.#backoff, MAX_BACKOFF);
    return askedFor + MIN_BACKOFF + Math.random() * (this.#backoff - MIN_BACKOFF);
  }
}
