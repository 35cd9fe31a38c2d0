// A channel with deadlines, retries and keepalive, and readable errors.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const protos = ['user.proto', 'rialto/v1/auth.proto', 'google-rpc.proto'];
const includeDirs = ['../../proto', '.'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));
// `keepCase` keeps the names of the definitions. Without it they become userId and so on, and a field passed as user_id is silently
// dropped.
const options = { keepCase: true, longs: String, defaults: true, oneofs: true, includeDirs };
const { user, rialto, google } = grpc.loadPackageDefinition(protoLoader.loadSync(protos, options));

const DETAILS = 'grpc-status-details-bin';

// Only idempotent methods are retried.
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
 * Opens a channel for any number of clients: with TLS if `ca` is given, and with a client certificate if `cert` and `key` are.
 */
export function connect(server, { ca, cert, key }) {
  const [authority, ownKey, own] = [ca, key, cert].map((file) => (file ? readFileSync(file) : null));
  const credentials = ca ? grpc.credentials.createSsl(authority, ownKey, own) : grpc.credentials.createInsecure();
  return new grpc.Channel(server, credentials, {
    'grpc.service_config': JSON.stringify(serviceConfig),
    // Reconnect soon, and with a bounded backoff: streams wait for the connection.
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 5_000,
    // Keepalive pings detect a peer that disappeared, which a client that only receives would otherwise never notice.
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
}

export const userService = (channel, interceptors) => clientOf(user.UserService, channel, interceptors);
export const authService = (channel) => clientOf(rialto.v1.AuthService, channel, []);

function clientOf(Service, channel, interceptors) {
  // The channel already has the server's address and the credentials.
  return new Service('', null, { channelOverride: channel, interceptors: [...interceptors, requestId] });
}

/** Adds an `x-request-id` to every call, which identifies it in logs. */
function requestId(options, nextCall) {
  return new grpc.InterceptingCall(nextCall(options), {
    start(metadata, listener, next) {
      metadata.set('x-request-id', randomUUID());
      next(metadata, listener);
    },
  });
}

/** The deadline of unary calls: without one, a call to a server that hangs never ends. */
export function withDeadline() {
  return { deadline: Date.now() + 10_000 };
}

/** Formats the status of a failed call and its details. */
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

/** Returns the reason in the error's details; undefined if there is none. */
export function reasonOf(error) {
  const info = detailsOf(error).find(({ type }) => type === 'google.rpc.ErrorInfo');
  return info && google.rpc.ErrorInfo.deserialize(info.value).reason;
}

/** Returns the minimum delay in milliseconds before a retry; undefined if a retry would fail. */
export function retryDelay(error) {
  const details = detailsOf(error);
  const retry = details.find(({ type }) => type === 'google.rpc.RetryInfo');
  if (retry) return milliseconds(google.rpc.RetryInfo.deserialize(retry.value).retry_delay);
  const { UNAVAILABLE, CANCELLED, INTERNAL, RESOURCE_EXHAUSTED } = grpc.status;
  // The codes that gRPC itself reports for a lost stream or connection. The server's own errors carry details.
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
