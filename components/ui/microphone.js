// The microphone of the Live tab. What an AudioWorklet hears is sent as 16-bit PCM in pieces that say with which sample
// they begin, each again until the server has it. The server's answer says which sample it wants next.
() => {
  if (window.liveMicrophone) return;

  const LEAST_S = 0.25, MOST_S = 4; // seconds of audio in a piece
  const RETRY_MS = 300, CALM_MS = 2000, REQUEST_MS = 15_000, FLUSH_MS = 1000;
  const UNKNOWN_MS = 30_000; // how long the server may take to admit a recording
  const LOST_MS = 120_000; // without an answer, recording ends
  const STOP_MS = 30_000; // how long Stop waits for the last pieces

  const WORKLET = `
    registerProcessor("pieces", class extends AudioWorkletProcessor {
      constructor() {
        super();
        this.samples = new Float32Array(4096);
        this.length = 0;
        this.port.onmessage = () => { this.flush(); this.port.postMessage(null); };
      }
      flush() {
        if (this.length) this.port.postMessage(this.samples.slice(0, this.length));
        this.length = 0;
      }
      process([[channel]]) {
        if (!channel) return true;
        if (this.length + channel.length > this.samples.length) this.flush();
        this.samples.set(channel, this.length);
        this.length += channel.length;
        return true;
      }
    });`;

  const root = () => location.origin + location.pathname.replace(/\/$/, "");
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  let take = null; // the recording under way, or the last one

  function heard(own, floats) {
    if (own.closed) return;
    const samples = new Int16Array(floats.length);
    for (let i = 0; i < floats.length; i++) samples[i] = Math.round(32767 * Math.max(-1, Math.min(1, floats[i])));
    own.unsent.push(samples);
    own.captured += samples.length;
  }

  // The next samples that the server lacks.
  function piece(own) {
    const whole = new Int16Array(Math.min(own.captured - own.received, Math.round(MOST_S * own.rate)));
    let length = 0;
    for (const samples of own.unsent) {
      const part = samples.subarray(0, whole.length - length);
      whole.set(part, length);
      length += part.length;
      if (length === whole.length) break;
    }
    return whole;
  }

  function received(own, until) {
    let gone = until - own.received;
    own.received = until;
    while (gone > 0 && own.unsent.length) {
      const first = own.unsent[0];
      if (first.length > gone) own.unsent[0] = first.subarray(gone);
      else own.unsent.shift();
      gone -= Math.min(gone, first.length);
    }
  }

  async function send(own, samples, last) {
    try {
      const answer = await fetch(`${root()}/microphone/${own.name}?start=${own.received}${last ? "&last=1" : ""}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream" },
        body: samples,
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      return [answer.status, answer.ok ? await answer.json() : null];
    } catch {
      return [0, null];
    }
  }

  async function deliver(own) {
    let answeredAt = performance.now();
    while (!own.dropped) {
      const unsent = own.captured - own.received;
      if (!own.closed && unsent < LEAST_S * own.rate) {
        await sleep(50);
        continue;
      }
      const samples = piece(own);
      const [status, answer] = await send(own, samples, own.closed && samples.length === own.captured - own.received);
      const silent = performance.now() - answeredAt;
      if (answer) {
        answeredAt = performance.now();
        received(own, answer.received);
        if (answer.ended) break;
      } else if (status === 404 || silent > LOST_MS) {
        break; // the server has ended it, or is gone
      } else {
        await sleep(status === 429 ? CALM_MS : RETRY_MS);
      }
    }
    own.delivered = true;
    release(own);
  }

  function release(own) {
    clearInterval(own.timer);
    own.closed = true;
    own.stream?.getTracks().forEach((track) => track.stop());
    if (own.context && own.context.state !== "closed") own.context.close();
    show(own, "");
  }

  function show(own, text) {
    const clock = document.querySelector("#live-clock");
    if (clock && own === take) clock.textContent = text;
  }

  function tick(own) {
    const seconds = Math.floor(own.captured / own.rate);
    const waiting = (own.captured - own.received) / own.rate;
    const late = waiting > 3 ? `, of which ${waiting.toFixed(0)} s have yet to be sent` : "";
    show(own, `Recording ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}${late}`);
  }

  async function open(own) {
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false };
    own.stream = await navigator.mediaDevices.getUserMedia({ audio });
    own.context = new AudioContext({ latencyHint: "playback" });
    own.rate = own.context.sampleRate;
    const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await own.context.audioWorklet.addModule(module);
    URL.revokeObjectURL(module);
    own.node = new AudioWorkletNode(own.context, "pieces", { channelCount: 1, channelCountMode: "explicit" });
    own.node.port.onmessage = ({ data }) => (data ? heard(own, data) : own.flushed?.());
    own.context.createMediaStreamSource(own.stream).connect(own.node);
    own.node.connect(own.context.destination); // it writes nothing there, but some browsers ask only what is connected
    await own.context.resume();
    own.stream.getAudioTracks()[0].onended = () => close(own);
    own.timer = setInterval(tick, 250, own);
  }

  // Take what the worklet still holds, then nothing more.
  async function close(own) {
    if (own.closing) return own.closing;
    return (own.closing = (async () => {
      const flushed = new Promise((resolve) => { own.flushed = resolve; });
      own.node?.port.postMessage(null);
      await Promise.race([flushed, sleep(FLUSH_MS)]);
      own.closed = true;
    })());
  }

  function drop(own = take) {
    if (!own || own.delivered) return;
    own.dropped = true;
    release(own);
  }

  const problem = (error) =>
    ({ NotAllowedError: "refused", SecurityError: "refused", NotFoundError: "none", NotReadableError: "taken" })[error.name] ?? "other";

  window.liveMicrophone = {
    // Begin a recording: its name, its sampling rate in hertz, and what hinders it.
    async start() {
      drop();
      if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return ["", 0, "insecure"];
      const own = { name: random(), rate: 0, captured: 0, received: 0, unsent: [] };
      take = own;
      try {
        await open(own);
      } catch (error) {
        release(own);
        return ["", 0, problem(error)];
      }
      setTimeout(() => own.admitted || drop(own), UNKNOWN_MS);
      return [own.name, own.rate, ""];
    },
    // The server's answer to that: the name, or none where it does not take the recording.
    admit(name) {
      if (take?.name !== name) return drop();
      take.admitted = true;
      deliver(take);
    },
    // End it, and wait until all of it has arrived: how many samples there were.
    async stop() {
      const own = take;
      if (!own || own.dropped) return [0];
      await close(own);
      const started = performance.now();
      while (!own.delivered && performance.now() - started < STOP_MS) await sleep(50);
      drop();
      return [own.captured];
    },
    // What tests count: samples at the microphone's rate.
    counts: () => ({ captured: take?.captured ?? 0, received: take?.received ?? 0, rate: take?.rate ?? 0 }),
  };
}
