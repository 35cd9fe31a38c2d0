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
    this.#answers.emit('answer');
    this.#send();
    return number;
  }

  /** Has the message sent once more, after so many milliseconds. Returns its number. */
  again(id, delay) {
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
    for (const each of this.#unanswered.values()) {
      if (each.sent) continue;
      each.sent = true;
      this.#call.write(each.message); // They are few enough to wait in its buffer.
    }
    if (this.isDone && !this.#call.writableEnded) this.#call.end();
  }
}
