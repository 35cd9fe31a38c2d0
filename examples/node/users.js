// Calls about users: unary, server-streaming, client-streaming.

import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { withDeadline } from './connection.js';

const show = (user) => `${user.id} ${user.username} ${user.email}`;

/** A unary method as a function that returns a promise. */
const unaryMethod = (client, name) => {
  const call = promisify(client[name]).bind(client);
  return (request) => call(request, withDeadline());
};

/** Creates, gets, updates and deletes a user. */
export async function unary(client) {
  const name = `ada-${randomUUID().slice(0, 8)}`;
  const request = { username: name, email: `${name}@example.com`, password: 'correct horse' };
  const created = await unaryMethod(client, 'CreateUser')(request);
  console.log('created', show(created));
  const { id } = created;
  await get(client, id);
  const updated = await unaryMethod(client, 'UpdateUser')({ id, email: `${name}@example.org` });
  console.log('updated', show(updated));
  await unaryMethod(client, 'DeleteUser')({ id });
  console.log('deleted', id);
}

export async function get(client, id) {
  console.log('got', show(await unaryMethod(client, 'GetUser')({ id })));
}

export async function listAll(client) {
  for await (const user of client.ListUsers({})) {
    console.log(show(user));
  }
}

/** Creates all users, or none if one is invalid. */
export async function bulk(client, names) {
  const response = await new Promise((resolve, reject) => {
    const call = client.CreateUsers(withDeadline(), (error, response) => (error ? reject(error) : resolve(response)));
    for (const name of names) {
      call.write({ username: name, email: `${name}@example.com` });
    }
    call.end();
  });
  for (const user of response.users) {
    console.log('created', show(user));
  }
  console.log(`created ${response.count} users`);
}
