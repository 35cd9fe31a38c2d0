// A chat that survives lost connections and server restarts: it reconnects and resumes without loss or duplicates.
//
// Incoming: every new stream joins the room after the last message that was received. Outgoing: every message has an id
// and is kept until it is acknowledged; unacknowledged messages are sent again on the next stream, and the server publishes an id only once.
// Tokens: before the stream's access token expires, the client sends a new one on the stream.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import { errorOf, milliseconds, reasonOf, retryDelay } from './connection.js';
import { Outbox } from './outbox.js';

// The delay before a stream is opened again is random, between the minimum and a bound that doubles up to the maximum, in milliseconds.
const MIN_BACKOFF = 200;
const MAX_BACKOFF = 5_000;

// The longest delay of a timer, in milliseconds.
const MAX_SLEEP = 2 ** 31 - 1;

/** One user in one room. */
export class ResumingChat {
  #client;
  #room;
  #user;
  #history;
  #onLost;
  #session; // Undefined if there is no token to renew.
  #outbox = new Outbox();
  #epoch; // Undefined before the first join.
  #after = 0n; // The next stream resumes after this seq.
  #shown = 0n; // The seq of the last message received.
  #backoff = MIN_BACKOFF;
  #reconnectAt; // Set by `draining`.

  constructor(client, { room, user, history = 0, onLost = () => {}, session }) {
    this.#client = client;
    this.#room = room;
    this.#user = user;
    this.#history = history;
    this.#onLost = onLost;
    this.#session = session;
  }

  /** Sends a message. Waits while too many messages are unacknowledged. */
  async send(text) {
    await this.#outbox.put({ room: this.#room, user_id: this.#user, id: randomUUID(), text });
  }

  /** Lets `messages` end once everything sent is acknowledged. */
  finish() {
    this.#outbox.finish();
  }

  /**
   * Yields the messages of the room, each once, and the events that concern the caller.
   *
   * `joined` is yielded for every new stream. `rejected.nth` counts the messages passed to `send`. Throws an error that a retry would not fix.
   */
  async *messages() {
    // The first call fails if there is no connection; later ones wait for it.
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

  /** Makes one call and follows it to its end. */
  async *#stream(waitForReady) {
    const token = await this.#session?.access();
    const metadata = new grpc.Metadata({ waitForReady });
    metadata.set('rialto-rooms', ''); // Start in no room: only a join can resume.
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
      call.on('error', () => {}); // Ignores the error of the cancellation.
      call.cancel();
    }
  }

  /** Sends a new token on the stream before the current one expires. */
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
      // The stream has ended, or will end with its token, and the next one reports the error.
    }
  }

  #join() {
    if (this.#epoch === undefined) return { history: this.#history };
    return { after_seq: String(this.#after), epoch: this.#epoch };
  }

  /** Handles a message, and returns whether the caller should see it. */
  #take(message, call) {
    switch (message.event) {
      case undefined: {
        this.#outbox.settle(message.id);
        const seq = BigInt(message.seq);
        if (seq <= this.#shown) return false;
        this.#after = this.#shown = seq;
        break;
      }
      case 'joined':
        if (this.#epoch === undefined) {
          this.#after = BigInt(message.joined.head_seq);
        } else if (!message.joined.recovered) {
          // Another epoch, or messages are missing: a `gap` follows unless nothing is missing.
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
        // Published on an earlier stream. It is shown when it is delivered.
        this.#outbox.settle(message.id);
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
      ? this.#outbox.retry(rejected.id, milliseconds(rejected.retry_after))
      : this.#outbox.settle(rejected.id);
  }

  /** Returns the milliseconds until the next stream; undefined if it would fail too. */
  #delay(error) {
    let minimum = error.metadata && retryDelay(error);
    if (this.#session && error.metadata && reasonOf(error) === 'TOKEN_EXPIRED') {
      this.#session.expired();
      minimum = 0;
    }
    if (minimum === undefined) return undefined;
    const reconnectAt = this.#reconnectAt;
    this.#reconnectAt = undefined;
    if (reconnectAt !== undefined) return Math.max(0, reconnectAt - Date.now());
    this.#backoff = Math.min(2 * this.#backoff, MAX_BACKOFF);
    return minimum + MIN_BACKOFF + Math.random() * (this.#backoff - MIN_BACKOFF);
  }
}
