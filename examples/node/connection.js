// A client as a user of a service should make one, and errors as a person can read them.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const protos = ['user.proto', 'rialto/v1/auth.proto', 'google-rpc.proto'];
const includeDirs = ['../../proto', '.'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));
// `keepCase` leaves the names as they are in the proto. Without it they become userId and so on, and a field that is given as user_id is
// dropped without a word.
const options = { keepCase: true, longs: String, defaults: true, oneofs: true, includeDirs };
const { user, rialto, google } = grpc.loadPackageDefinition(protoLoader.loadSync(protos, options));

const DETAILS = 'grpc-status-details-bin';

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

/**
 * A connection, for any number of clients. With the certificates of an authority, by TLS; with a certificate and its key, as its holder.
 */
export function connect(server, { ca, cert, key }) {
  const [authority, ownKey, own] = [ca, key, cert].map((file) => (file ? readFileSync(file) : null));
  const credentials = ca ? grpc.credentials.createSsl(authority, ownKey, own) : grpc.credentials.createInsecure();
  return new grpc.Channel(server, credentials, {
    'grpc.service_config': JSON.stringify(serviceConfig),
    // After a lost connection try again soon, and not ever more seldom: streams wait for it.
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 5_000,
    // A peer that is gone without a word would otherwise never be noticed by who only listens.
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
}

export const userService = (channel, interceptors) => clientOf(user.UserService, channel, interceptors);
export const authService = (channel) => clientOf(rialto.v1.AuthService, channel, []);

function clientOf(Service, channel, interceptors) {
  // The channel has the server's name and the credentials.
  return new Service('', null, { channelOverride: channel, interceptors: [...interceptors, requestId] });
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
  for (const { type, value } of detailsOf(error)) {
    switch (type) {
      case 'google.rpc.BadRequest':
        for (const violation of google.rpc.BadRequest.deserialize(value).field_violations) {
          lines.push(`  ${violation.field}: ${violation.description}`);
        }
        break;
      case 'google.rpc.ErrorInfo':
        lines.push(`  reason: ${google.rpc.ErrorInfo.deserialize(value).reason}`);
        break;
    }
  }
  return lines.join('\n');
}

/** What the server calls it, for programs; undefined: it does not say. */
export function reasonOf(error) {
  const info = detailsOf(error).find(({ type }) => type === 'google.rpc.ErrorInfo');
  return info && google.rpc.ErrorInfo.deserialize(info.value).reason;
}

/** How many milliseconds to wait at least before the call is made again; undefined: it would fail again. */
export function retryDelay(error) {
  const details = detailsOf(error);
  const retry = details.find(({ type }) => type === 'google.rpc.RetryInfo');
  if (retry) return milliseconds(google.rpc.RetryInfo.deserialize(retry.value).retry_delay);
  const { UNAVAILABLE, CANCELLED, INTERNAL, RESOURCE_EXHAUSTED } = grpc.status;
  // What gRPC itself says when a stream or its connection was lost. The server's own errors carry details.
  const lost = details.length === 0 && [CANCELLED, INTERNAL, RESOURCE_EXHAUSTED].includes(error.code);
  return lost || error.code === UNAVAILABLE ? 0 : undefined;
}

function detailsOf(error) {
  return error.metadata
    .get(DETAILS)
    .flatMap((bytes) => google.rpc.Status.deserialize(bytes).details)
    .map(({ type_url, value }) => ({ type: type_url.split('/').pop(), value }));
}

/** A `rejected` as the error of its call. */
export function errorOf({ code, reason, detail, retry_after }) {
  const details = [any('google.rpc.ErrorInfo', google.rpc.ErrorInfo.serialize({ reason, domain: 'rialto' }))];
  if (retry_after) details.push(any('google.rpc.RetryInfo', google.rpc.RetryInfo.serialize({ retry_delay: retry_after })));
  const metadata = new grpc.Metadata();
  metadata.set(DETAILS, google.rpc.Status.serialize({ code, message: detail, details }));
  return Object.assign(new Error(detail), { code, details: detail, metadata });
}

const any = (type, value) => ({ type_url: `type.googleapis.com/${type}`, value });

export const milliseconds = (duration) => Number(duration.seconds) * 1000 + duration.nanos / 1e6;
