// Who calls: the tokens of a login, renewed before they expire, and the interceptor that puts one on every call.

import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import { milliseconds, withDeadline } from './connection.js';

// An access token is renewed so many milliseconds before it expires, or at two thirds of its life if that is short.
const MARGIN = 30_000;

/** A login and the tokens that came of it. */
export class Session {
  #client;
  #login;
  #access; // {value, renewAt}, by the clock of performance.now().
  #refreshToken;
  #renewing; // The promise of the next access token, while there is one.

  /** The client of AuthService needs no token: these calls are how one is got. */
  constructor(client, username, password) {
    this.#client = client;
    this.#login = { username, password };
  }

  /** A token that is good for a while yet. Who comes while it is being renewed waits: a refresh token can be used only once. */
  async access() {
    if (this.#access && performance.now() < this.#access.renewAt) return this.#access;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  /** The server does not take the access token any more, as after this machine has slept. */
  expired() {
    this.#access = undefined;
  }

  async logout() {
    await this.#renewing?.catch(() => {});
    if (!this.#refreshToken) return;
    await this.#call('Logout', { refresh_token: this.#refreshToken }).catch(() => {}); // A session that is not ended here expires.
  }

  async #renew() {
    const now = performance.now();
    const { tokens } = (await this.#refresh()) ?? (await this.#call('Login', this.#login));
    const life = milliseconds(tokens.access_expires_in);
    this.#refreshToken = tokens.refresh_token;
    this.#access = { value: tokens.access_token, renewAt: now + life - Math.min(MARGIN, life / 3) };
    return this.#access;
  }

  /** Undefined: the session has not begun, or has ended: it is too old, or the answer to the last refresh was lost on its way. */
  async #refresh() {
    if (!this.#refreshToken) return undefined;
    try {
      return await this.#call('Refresh', { refresh_token: this.#refreshToken });
    } catch (error) {
      if (error.code !== grpc.status.UNAUTHENTICATED) throw error;
      return undefined;
    }
  }

  #call(method, request) {
    return promisify(this.#client[method]).call(this.#client, request, withDeadline());
  }
}

/** Puts a token on every call. An interceptor, since call credentials do not go over a connection without TLS. */
export function withToken(accessToken) {
  return (options, nextCall) =>
    new grpc.InterceptingCall(nextCall(options), {
      async start(metadata, listener, next) {
        try {
          metadata.set('authorization', `Bearer ${await accessToken()}`);
        } catch (error) {
          listener.onReceiveStatus(error); // The call ends as the one that was to get the token.
          return;
        }
        next(metadata, listener);
      },
    });
}

/** Whether HOST:PORT is this machine, to which secrets may go without TLS. */
export function isLoopback(server) {
  const url = `http://${server}`;
  return URL.canParse(url) && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(url).hostname);
}
