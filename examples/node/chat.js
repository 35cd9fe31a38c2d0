// Chat in one room: sends the lines of standard input, and prints what arrives.

import readline from 'node:readline';
import { describe, milliseconds } from './connection.js';
import { ResumingChat } from './resuming.js';

export async function chat(client, { room, user, history, expect }, session) {
  const chat = new ResumingChat(client, { room, user, history, onLost: showLost, session });

  let received = 0;
  let inputEnded = false;
  const finishWhenDone = () => {
    if (inputEnded && received >= expect) chat.finish();
  };

  const lines = readline.createInterface({ input: process.stdin });
  async function sendLines() {
    for await (const text of lines) {
      if (text !== '') await chat.send(text);
    }
    inputEnded = true;
    finishWhenDone();
  }

  async function printMessages() {
    let joined = 'ready';
    for await (const message of chat.messages()) {
      if (message.event === 'joined') {
        console.error(joined);
        joined = 'reconnected';
      }
      show(message);
      if (message.text !== '') received += 1;
      finishWhenDone();
    }
  }

  try {
    await Promise.all([sendLines(), printMessages()]);
  } finally {
    lines.close();
  }
}

function show(message) {
  switch (message.event) {
    case undefined:
      console.log(`${message.seq} ${message.user_id}: ${message.text}`);
      break;
    case 'rejected': {
      const { nth, reason, detail, retry_after } = message.rejected;
      const again = retry_after ? `, trying again in ${seconds(retry_after)}` : '';
      console.error(`rejected: message ${nth}: ${reason}: ${detail}${again}`);
      break;
    }
    case 'gap':
      console.error(`missing: messages ${message.gap.from_seq} to ${message.gap.to_seq}`);
      break;
    case 'draining':
      console.error(`the server is shutting down, reconnecting in ${seconds(message.draining.reconnect_after)}`);
      break;
  }
}

function showLost(error) {
  console.error(`not connected: ${describe(error).split('\n')[0]}; trying again`);
}

const seconds = (duration) => `${milliseconds(duration) / 1000} s`;
