// Asks one session of the Node example for a token many times at once, with the server and the number of the arguments.

import assert from 'node:assert/strict';
import { Session } from '../../examples/node/auth.js';
import { authService, connect } from '../../examples/node/connection.js';

const [server, times] = process.argv.slice(2);
const channel = connect(server, {});
const session = new Session(authService(channel), 'ada', 'battery staple');
const first = await session.access();
const tokens = await Promise.all(Array.from({ length: Number(times) }, () => session.access()));
assert.equal(new Set(tokens.map(({ value }) => value)).size, 1);
assert.notEqual(tokens[0].value, first.value);
channel.close();
