// A small client of Rialto. See README.md, or run `node main.js --help`.

import { parseArgs } from 'node:util';
import { chat } from './chat.js';
import { connect, describe } from './connection.js';
import { bulk, get, listAll, unary } from './users.js';

const HELP = `usage: node main.js COMMAND [--server HOST:PORT]

  unary                 create, get, update and delete a user
  get ID                get one user
  list                  list all users
  bulk NAME...          create many users in one call
  chat --user NAME      send the lines of standard input to a room, print what arrives;
                        go on after a lost connection
    --room ROOM         default: lobby
    --history N         begin with the last N messages of the room
    --expect N          stay until N messages have arrived, also after the input's end

  --server HOST:PORT    default: localhost:50051`;

const OPTIONS = {
  server: { type: 'string', default: 'localhost:50051' },
  room: { type: 'string', default: 'lobby' },
  user: { type: 'string' },
  history: { type: 'string', default: '0' },
  expect: { type: 'string', default: '0' },
  help: { type: 'boolean', short: 'h', default: false },
};

class UsageError extends Error {}

function parse() {
  try {
    const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
    const options = { ...values, history: Number(values.history), expect: Number(values.expect) };
    return { options, command: positionals[0], operands: positionals.slice(1) };
  } catch (error) {
    throw new UsageError(error.message);
  }
}

/** The function that the command line asks for, waiting for a client. */
function chosen({ command, operands, options }) {
  switch (command) {
    case 'unary':
      return unary;
    case 'get':
      if (operands.length !== 1) throw new UsageError('get needs one id');
      return (client) => get(client, operands[0]);
    case 'list':
      return listAll;
    case 'bulk':
      if (operands.length === 0) throw new UsageError('bulk needs names');
      return (client) => bulk(client, operands);
    case 'chat':
      if (!options.user) throw new UsageError('chat needs --user');
      for (const name of ['history', 'expect']) {
        if (!Number.isInteger(options[name]) || options[name] < 0) throw new UsageError(`--${name} needs a number`);
      }
      return (client) => chat(client, options);
    default:
      throw new UsageError(command ? `unknown command ${command}` : 'no command given');
  }
}

async function main() {
  const line = parse();
  if (line.options.help) {
    console.log(HELP);
    return;
  }
  const run = chosen(line);
  const client = connect(line.options.server);
  try {
    await run(client);
  } finally {
    client.close();
  }
}

try {
  await main();
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exitCode = 2;
  } else if (error.metadata) {
    console.error(describe(error));
    process.exitCode = 1;
  } else {
    throw error;
  }
}
