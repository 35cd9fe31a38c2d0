// Authentication: the tokens of a login, refreshed before they expire, and the interceptor that adds one to every call.

import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import { milliseconds, withDeadline } from './connection.js';

// An access token is refreshed this many milliseconds before it expires, or after two thirds of its lifetime if that is earlier.
const MARGIN = 30_000;

/** A login and its tokens. */
export class Session {
  #client;
  #login;
  #access; // {value, renewAt}, in the time of performance.now().
  #refreshToken;
  #renewing; // The promise of the next access token, while it is being refreshed.

  /** The client of AuthService must not add tokens: login and refresh are the calls that obtain them. */
  constructor(client, username, password) {
    this.#client = client;
    this.#login = { username, password };
  }

  /** Returns a token that is valid for a while. Callers wait while it is refreshed: a refresh token can be used only once. */
  async access() {
    if (this.#access && performance.now() < this.#access.renewAt) return this.#access;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  /** Discards an access token that the server has rejected as expired, for example after this machine has slept. */
  expired() {
    this.#access = undefined;
  }

  async logout() {
    await this.#renewing?.catch(() => {});
    if (!this.#refreshToken) return;
    await this.#call('Logout', { refresh_token: this.#refreshToken }).catch(() => {}); // Without a logout the session expires by itself.
  }

  async #renew() {
    const now = performance.now();
    const { tokens } = (await this.#refresh()) ?? (await this.#call('Login', this.#login));
    const life = milliseconds(tokens.access_expires_in);
    this.#refreshToken = tokens.refresh_token;
    this.#access = { value: tokens.access_token, renewAt: now + life - Math.min(MARGIN, life / 3) };
    return this.#access;
  }

  /** Returns undefined if there is no session, or if it has ended: it expired, or the response to the last refresh was lost. */
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

/** Adds a token to every call. Uses an interceptor, because gRPC does not send call credentials without TLS. */
export function withToken(accessToken) {
  return (options, nextCall) =>
    new grpc.InterceptingCall(nextCall(options), {
      async start(metadata, listener, next) {
        try {
          metadata.set('authorization', `Bearer ${await accessToken()}`);
        } catch (error) {
          listener.onReceiveStatus(error); // The call ends with the error of the call that should have obtained the token.
          return;
        }
        next(metadata, listener);
      },
    });
}

/** Whether HOST:PORT is a loopback address, to which secrets may be sent without TLS. */
export function isLoopback(server) {
  const url = `http://${server}`;
  return URL.canParse(url) && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(url).hostname);
}
