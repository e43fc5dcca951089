// The socket of one session: follows from a sequence number and reconnects, without losing or repeating an event.

import { bearer } from './prefs.js';

const FIRST_WAIT = 400;
const LONGEST_WAIT = 8_000;
const PING = 20_000;
const SILENCE = 50_000;

export class Live {
  /**
   * `on.message(message)` gets each message once, in order; `on.link(state)` gets `connecting`, `open`, `lost`;
   * `on.back()` when the socket opened again after a loss; `on.refused()` when a socket could not be opened.
   */
  constructor(id, after, on) {
    this.id = id;
    this.after = after;
    this.on = on;
    this.wait = FIRST_WAIT;
    this.ended = false;
    this.opened = false;
    this.online = () => this.now();
    this.visible = () => document.hidden || this.now();
    window.addEventListener('online', this.online);
    document.addEventListener('visibilitychange', this.visible);
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.on.link('connecting');
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const address = `${scheme}://${location.host}/ws/${encodeURIComponent(this.id)}?after=${this.after}&events=all`;
    let socket;
    try {
      socket = bearer() ? new WebSocket(address, ['agent.v1', `bearer.${bearer()}`]) : new WebSocket(address);
    } catch {
      this.lost(false); // a key with characters that no header may have
      return;
    }
    this.socket = socket;
    let open = false;
    socket.onopen = () => {
      open = true;
      this.wait = FIRST_WAIT;
      this.heard = Date.now();
      this.on.link('open');
      if (this.opened) this.on.back();
      this.opened = true;
      clearInterval(this.pings);
      this.pings = setInterval(() => this.ping(), PING);
    };
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.heard = Date.now();
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
      if (this.socket === socket) this.lost(open);
    };
  }

  /** A socket that died without a word is found by its silence. */
  ping() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.heard > SILENCE) {
      const old = this.socket;
      this.lost(true);
      old.close();
    } else {
      this.socket.send(JSON.stringify({ type: 'ping', data: {}, timestamp: new Date().toISOString() }));
    }
  }

  lost(wasOpen) {
    this.socket = undefined;
    clearInterval(this.pings);
    if (this.ended) return;
    this.on.link('lost');
    if (!wasOpen) this.on.refused();
    this.timer = setTimeout(() => this.open(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }

  /** Does not wait any longer for the next try. */
  now() {
    if (!this.ended && this.timer !== undefined) this.open();
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    clearInterval(this.pings);
    window.removeEventListener('online', this.online);
    document.removeEventListener('visibilitychange', this.visible);
    this.socket?.close();
  }
}
