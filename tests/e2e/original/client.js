// Makes the calls of the first Node client, all at once, and says how each went.

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [server, definition] = process.argv.slice(2);

// Without options, as the first client did: fields are then called userId and so on, the `user_id` written below is dropped, and the
// messages go out with an empty one.
const { user } = grpc.loadPackageDefinition(protoLoader.loadSync(definition));
const client = new user.UserService(server, grpc.credentials.createInsecure());

const failed = (call) => (error) => {
  console.error(`${call} failed: ${error.message}`);
  process.exitCode = 1;
};

client.getUser({ id: '123' }, (error, response) => {
  console.log(error ? `Error: ${grpc.status[error.code]}` : `User: ${response.username}`);
});

const list = client.listUsers({});
list.on('data', (listed) => console.log(`User: ${listed.username}`));
list.on('end', () => console.log('List ended'));
list.on('error', failed('listUsers'));

const create = client.createUsers((error, response) => {
  if (error) failed('createUsers')(error);
  else console.log(`Created ${response.count} users`);
});
for (let i = 0; i < 5; i++) {
  create.write({ username: `user${i}`, email: `user${i}@example.com`, password: 'password' });
}
create.end();

const chat = client.chat();
chat.on('data', (message) => console.log(`Received: ${message.text}`));
chat.on('end', () => console.log('Chat ended'));
chat.on('error', failed('chat'));
for (let i = 0; i < 5; i++) {
  chat.write({ user_id: 'user1', text: `Message ${i}`, timestamp: Date.now() });
}
chat.end();
