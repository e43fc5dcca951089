// Captures audio in chunks of 100 ms and passes them to the page as 16-bit samples. The context has 24 kHz.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(2400);
    this.filled = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels || channels.length === 0) return true;
    const count = channels[0].length;
    for (let at = 0; at < count; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      const sample = Math.max(-1, Math.min(1, sum / channels.length));
      this.chunk[this.filled] = sample * 32767;
      this.filled += 1;
      if (this.filled === this.chunk.length) {
        this.port.postMessage(this.chunk.buffer, [this.chunk.buffer]);
        this.chunk = new Int16Array(2400);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor('capture', Capture);
