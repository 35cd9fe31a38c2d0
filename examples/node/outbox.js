// Outgoing messages, kept in order until they are acknowledged.

import { once, EventEmitter } from 'node:events';

// A sender waits while this many messages are unacknowledged.
const MAX_UNACKNOWLEDGED = 256;

export class Outbox {
  #unacknowledged = new Map(); // By id.
  #number = 0;
  #finished = false;
  #call; // Undefined while messages are held for the next stream.
  #timer;
  #window = MAX_UNACKNOWLEDGED; // Maximum number of messages in flight.
  #answers = new EventEmitter();

  /** Adds a message. Waits while the outbox is full. */
  async put(message) {
    while (this.#unacknowledged.size >= MAX_UNACKNOWLEDGED) await once(this.#answers, 'answer');
    this.#number += 1;
    this.#unacknowledged.set(message.id, { message, number: this.#number, sent: false });
    this.#send();
  }

  finish() {
    this.#finished = true;
    this.#send();
  }

  get isDone() {
    return this.#finished && this.#unacknowledged.size === 0;
  }

  /** Releases messages to a stream that has joined: it must send everything that is unacknowledged. */
  open(call) {
    this.#call = call;
    for (const each of this.#unacknowledged.values()) each.sent = false;
    this.#send();
  }

  /** Holds messages for the next stream. */
  hold() {
    this.#call = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Removes a message that was published or finally rejected, and returns its number; 0 if it is not in the outbox. */
  settle(id) {
    const { number } = this.#unacknowledged.get(id) ?? { number: 0 };
    this.#unacknowledged.delete(id);
    if (this.#unacknowledged.size === 0) this.#window = MAX_UNACKNOWLEDGED;
    this.#answers.emit('answer');
    this.#send();
    return number;
  }

  /**
   * Sends the message again after `delay` milliseconds. Returns its number; 0 if it is not in the outbox.
   *
   * Until the outbox is empty, messages are then sent one at a time: sending all at once would exceed the rate again, and change their order.
   */
  retry(id, delay) {
    this.#window = 1;
    const rejected = this.#unacknowledged.get(id);
    if (!rejected) return 0;
    rejected.sent = false;
    if (this.#call) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#send();
      }, delay);
    }
    return rejected.number;
  }

  #send() {
    if (!this.#call || this.#timer) return;
    const all = [...this.#unacknowledged.values()];
    const free = this.#window - all.filter(({ sent }) => sent).length;
    for (const each of all.filter(({ sent }) => !sent).slice(0, Math.max(0, free))) {
      each.sent = true;
      this.#call.write(each.message); // The stream's buffer holds the few that it cannot send yet.
    }
    if (this.isDone && !this.#call.writableEnded) this.#call.end();
  }
}
