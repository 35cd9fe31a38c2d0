// A client as a user of a service should make one, and errors as a person can read them.

import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const protos = [
  fileURLToPath(new URL('../../proto/user.proto', import.meta.url)),
  fileURLToPath(new URL('google-rpc.proto', import.meta.url)),
];
// `keepCase` leaves the names as they are in the proto. Without it they become userId and so on, and a field that is given as user_id is
// dropped without a word.
const options = { keepCase: true, longs: String, defaults: true, oneofs: true };
const { user, google } = grpc.loadPackageDefinition(protoLoader.loadSync(protos, options));

// Only methods that may be repeated without harm are retried.
const serviceConfig = {
  methodConfig: [
    {
      name: ['GetUser', 'UpdateUser', 'DeleteUser'].map((method) => ({ service: 'user.UserService', method })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: '0.2s',
        maxBackoff: '2s',
        backoffMultiplier: 2,
        retryableStatusCodes: ['UNAVAILABLE'],
      },
    },
  ],
};

export function connect(server) {
  return new user.UserService(server, grpc.credentials.createInsecure(), {
    'grpc.service_config': JSON.stringify(serviceConfig),
    interceptors: [requestId],
  });
}

/** Adds an `x-request-id` to every call, by which it can be found in logs. */
function requestId(options, nextCall) {
  return new grpc.InterceptingCall(nextCall(options), {
    start(metadata, listener, next) {
      metadata.set('x-request-id', randomUUID());
      next(metadata, listener);
    },
  });
}

/** Every unary call gets a deadline: without one, a call to a server that hangs never ends. */
export function withDeadline() {
  return { deadline: Date.now() + 10_000 };
}

/** The status of a failed call, and the details that the server gave. */
export function describe(error) {
  const lines = [`${grpc.status[error.code]}: ${error.details}`];
  for (const bytes of error.metadata?.get('grpc-status-details-bin') ?? []) {
    for (const detail of google.rpc.Status.deserialize(bytes).details) {
      switch (detail.type_url.split('/').pop()) {
        case 'google.rpc.BadRequest':
          for (const violation of google.rpc.BadRequest.deserialize(detail.value).field_violations) {
            lines.push(`  ${violation.field}: ${violation.description}`);
          }
          break;
        case 'google.rpc.ErrorInfo':
          lines.push(`  reason: ${google.rpc.ErrorInfo.deserialize(detail.value).reason}`);
          break;
      }
    }
  }
  return lines.join('\n');
}
