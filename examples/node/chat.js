// A chat in one room: lines of standard input go out as messages, and what arrives in the room is printed.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import readline from 'node:readline';
import grpc from '@grpc/grpc-js';

export async function chat(client, { room, user, expect }) {
  const metadata = new grpc.Metadata();
  metadata.set('rialto-rooms', room);
  const call = client.Chat(metadata);

  let received = 0;
  let inputEnded = false;
  const halfCloseWhenDone = () => {
    if (inputEnded && received >= expect && !call.writableEnded) call.end();
  };

  async function sendLines() {
    const lines = readline.createInterface({ input: process.stdin });
    call.on('close', () => lines.close());
    for await (const text of lines) {
      if (text === '') continue;
      // With an id of our own, sending the message again after a lost connection cannot publish it twice.
      const roomForMore = call.write({ room, user_id: user, id: randomUUID(), text });
      if (!roomForMore) await once(call, 'drain');
    }
    inputEnded = true;
    halfCloseWhenDone();
  }

  // Headers mean that the join holds: nothing said from now on is missed.
  call.on('metadata', () => {
    console.error('ready');
    sendLines().catch((error) => call.destroy(error));
  });

  for await (const message of call) {
    show(message);
    if (message.text !== '') received += 1;
    halfCloseWhenDone();
  }
}

function show(message) {
  switch (message.event) {
    case undefined:
      console.log(`${message.seq} ${message.user_id}: ${message.text}`);
      break;
    case 'rejected': {
      const { nth, reason, detail, retry_after } = message.rejected;
      const again = retry_after ? `, try again in ${seconds(retry_after)}` : '';
      console.error(`rejected: message ${nth}: ${reason}: ${detail}${again}`);
      break;
    }
    case 'duplicate':
      console.error(`duplicate: message ${message.id} was published before, as ${message.seq}`);
      break;
    case 'gap':
      console.error(`missing: messages ${message.gap.from_seq} to ${message.gap.to_seq}`);
      break;
    case 'draining':
      console.error(`the server is shutting down, reconnect in ${seconds(message.draining.reconnect_after)}`);
      break;
  }
}

const seconds = (duration) => `${Number(duration.seconds) + duration.nanos / 1e9} s`;
