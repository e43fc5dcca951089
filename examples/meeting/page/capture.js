// Captures audio in chunks of 100 ms and passes them to the page as 16-bit samples at 24 kHz. A context of another rate is
// converted: each sample is the mean of the input that it replaces.
const RATE = 24000;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(RATE / 10);
    this.filled = 0;
    // Input samples of one output sample; what is left of the present one; its sum.
    this.step = sampleRate / RATE;
    this.left = this.step;
    this.sum = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels || channels.length === 0) return true;
    const count = channels[0].length;
    for (let at = 0; at < count; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.add(sum / channels.length);
    }
    return true;
  }

  add(value) {
    let part = 1;
    while (part >= this.left) {
      this.write((this.sum + value * this.left) / this.step);
      part -= this.left;
      this.left = this.step;
      this.sum = 0;
    }
    this.sum += value * part;
    this.left -= part;
  }

  write(value) {
    this.chunk[this.filled] = Math.max(-1, Math.min(1, value)) * 32767;
    this.filled += 1;
    if (this.filled < this.chunk.length) return;
    this.port.postMessage(this.chunk.buffer, [this.chunk.buffer]);
    this.chunk = new Int16Array(RATE / 10);
    this.filled = 0;
  }
}

registerProcessor('capture', Capture);
