// An example client of Rialto. See README.md, or run `node main.js --help`.

import readline from 'node:readline';
import { Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { isLoopback, Session, withToken } from './auth.js';
import { chat } from './chat.js';
import { authService, connect, describe, userService } from './connection.js';
import { bulk, get, listAll, unary } from './users.js';

const HELP = `usage: node main.js COMMAND [--server HOST:PORT]

  unary                 create, get, update and delete a user
  get ID                get one user
  list                  list all users
  bulk NAME...          create many users in one call
  chat                  send the lines of standard input to a room, and print what arrives;
                        resumes after a lost connection
    --user NAME         the author of the messages; not needed with a token
    --room ROOM         default: lobby
    --history N         start with the last N messages of the room
    --expect N          exit only after N messages have arrived

  --server HOST:PORT    default: localhost:50051
  --ca FILE             use TLS, and trust the authorities in this PEM file
  --cert FILE           present this client certificate; requires --key
  --key FILE            the private key of the certificate
  --login NAME          log in as this user

Secrets come from the environment, because other users can see a program's arguments:

  RIALTO_PASSWORD       the password for --login; if not set, the program prompts for it
  RIALTO_TOKEN          the token for every call, without --login`;

const OPTIONS = {
  server: { type: 'string', default: 'localhost:50051' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  login: { type: 'string' },
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
    options.token = options.login ? undefined : process.env.RIALTO_TOKEN;
    return { options, command: positionals[0], operands: positionals.slice(1) };
  } catch (error) {
    throw new UsageError(error.message);
  }
}

/** Returns the function of the command, which takes a client. */
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
      if (!(options.user || options.login || options.token)) throw new UsageError('chat needs --user or --login');
      for (const name of ['history', 'expect']) {
        if (!Number.isInteger(options[name]) || options[name] < 0) throw new UsageError(`--${name} needs a number`);
      }
      return (client, session) => chat(client, options, session);
    default:
      throw new UsageError(command ? `unknown command ${command}` : 'no command given');
  }
}

function checkConnection({ server, ca, cert, key, login, token }) {
  if ((cert || key) && !(ca && cert && key)) throw new UsageError('--cert and --key need each other, and --ca');
  if ((login || token) && !ca && !isLoopback(server)) {
    throw new UsageError(`passwords and tokens would be sent to ${server} in the clear: use --ca`);
  }
}

/** Returns the password from the environment, or prompts for it without echo. */
async function passwordOf(name) {
  if (process.env.RIALTO_PASSWORD !== undefined) return process.env.RIALTO_PASSWORD;
  if (!process.stdin.isTTY) throw new UsageError('--login needs RIALTO_PASSWORD, or a terminal to prompt on');
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = readline.createInterface({ input: process.stdin, output: nowhere, terminal: true });
  process.stderr.write(`Password of ${name}: `);
  try {
    for await (const line of terminal) return line;
    throw new UsageError('no password was entered');
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}

async function main() {
  const line = parse();
  if (line.options.help) {
    console.log(HELP);
    return;
  }
  const { server, login, token } = line.options;
  const run = chosen(line);
  checkConnection(line.options);
  const password = login ? await passwordOf(login) : undefined;
  const channel = connect(server, line.options);
  const session = login ? new Session(authService(channel), login, password) : undefined;
  const interceptors = [];
  if (session) interceptors.push(withToken(async () => (await session.access()).value));
  else if (token) interceptors.push(withToken(() => token));
  try {
    await run(userService(channel, interceptors), session);
  } finally {
    await session?.logout();
    channel.close();
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
  } else if (error.syscall) {
    console.error(error.message);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
