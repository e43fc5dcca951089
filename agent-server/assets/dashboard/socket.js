// The socket of one session: follows from a sequence number and reconnects, without losing or repeating an event.

import { bearer } from './prefs.js';

const FIRST_BACKOFF = 400;
const MAX_BACKOFF = 8_000;
const PING = 20_000;
const SILENCE_TIMEOUT = 50_000;

export class SessionSocket {
  /**
   * `on.message(message)` gets each message once, in order; `on.connection(state)` gets `connecting`, `open`,
   * `lost`; `on.reconnected()` when the socket opened again; `on.rejected()` when a socket could not be opened.
   */
  constructor(id, after, on) {
    this.id = id;
    this.after = after;
    this.on = on;
    this.backoff = FIRST_BACKOFF;
    this.closed = false;
    this.wasOpened = false;
    this.online = () => this.reconnectNow();
    this.visible = () => document.hidden || this.reconnectNow();
    window.addEventListener('online', this.online);
    document.addEventListener('visibilitychange', this.visible);
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.on.connection('connecting');
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const address = `${scheme}://${location.host}/ws/${encodeURIComponent(this.id)}?after=${this.after}&events=all`;
    let socket;
    try {
      socket = bearer() ? new WebSocket(address, ['agent.v1', `bearer.${bearer()}`]) : new WebSocket(address);
    } catch {
      this.handleClose(false); // a key with characters that no header may have
      return;
    }
    this.socket = socket;
    let open = false;
    socket.onopen = () => {
      open = true;
      this.backoff = FIRST_BACKOFF;
      this.lastReceived = Date.now();
      this.on.connection('open');
      if (this.wasOpened) this.on.reconnected();
      this.wasOpened = true;
      clearInterval(this.pings);
      this.pings = setInterval(() => this.ping(), PING);
    };
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.lastReceived = Date.now();
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      const { seq } = message;
      if (typeof seq === 'number') {
        if (seq <= this.after) return;
        this.after = seq;
      }
      this.on.message(message);
    };
    socket.onclose = () => {
      if (this.socket === socket) this.handleClose(open);
    };
  }

  /** Sends a ping. A socket without messages for too long is replaced. */
  ping() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.lastReceived > SILENCE_TIMEOUT) {
      const old = this.socket;
      this.handleClose(true);
      old.close();
    } else {
      this.socket.send(JSON.stringify({ type: 'ping', data: {}, timestamp: new Date().toISOString() }));
    }
  }

  handleClose(wasOpen) {
    this.socket = undefined;
    clearInterval(this.pings);
    if (this.closed) return;
    this.on.connection('lost');
    if (!wasOpen) this.on.rejected();
    this.timer = setTimeout(() => this.open(), this.backoff * (0.75 + Math.random() / 2));
    this.backoff = Math.min(this.backoff * 2, MAX_BACKOFF);
  }

  /** Skips the rest of the backoff. */
  reconnectNow() {
    if (!this.closed && this.timer !== undefined) this.open();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.pings);
    window.removeEventListener('online', this.online);
    document.removeEventListener('visibilitychange', this.visible);
    this.socket?.close();
  }
}
