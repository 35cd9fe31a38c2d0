// Messages until they are answered, in order.

import { once, EventEmitter } from 'node:events';

// A sender waits while so many messages are not answered.
const MAX_UNANSWERED = 256;

export class Outbox {
  #unanswered = new Map(); // By id.
  #number = 0;
  #finished = false;
  #call; // Absent: messages are held until there is one.
  #timer;
  #window = MAX_UNANSWERED; // So many may be under way.
  #answers = new EventEmitter();

  /** Waits for a place. */
  async put(message) {
    while (this.#unanswered.size >= MAX_UNANSWERED) await once(this.#answers, 'answer');
    this.#number += 1;
    this.#unanswered.set(message.id, { message, number: this.#number, sent: false });
    this.#send();
  }

  finish() {
    this.#finished = true;
    this.#send();
  }

  get isDone() {
    return this.#finished && this.#unanswered.size === 0;
  }

  /** A new stream has joined: everything that is not answered has to be sent on it. */
  open(call) {
    this.#call = call;
    for (const each of this.#unanswered.values()) each.sent = false;
    this.#send();
  }

  /** Keeps messages for the next stream. */
  hold() {
    this.#call = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Returns the number that the message had, or 0 if it is none of ours. */
  answered(id) {
    const { number } = this.#unanswered.get(id) ?? { number: 0 };
    this.#unanswered.delete(id);
    if (this.#unanswered.size === 0) this.#window = MAX_UNANSWERED;
    this.#answers.emit('answer');
    this.#send();
    return number;
  }

  /**
   * Has the message sent once more, after so many milliseconds. Returns its number.
   *
   * From then on one is sent at a time, until none is left: all at once would be too many again, and out of order.
   */
  again(id, delay) {
    this.#window = 1;
    const rejected = this.#unanswered.get(id);
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
    const all = [...this.#unanswered.values()];
    const free = this.#window - all.filter(({ sent }) => sent).length;
    for (const each of all.filter(({ sent }) => !sent).slice(0, Math.max(0, free))) {
      each.sent = true;
      this.#call.write(each.message); // They are few enough to wait in its buffer.
    }
    if (this.isDone && !this.#call.writableEnded) this.#call.end();
  }
}
