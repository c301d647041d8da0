// The stream on which the server says which tasks changed (generation/live.py), as long as it is
// wanted and to be had. Whoever uses it asks by himself while `isLive` is false.
//
// It is read by fetch: EventSource keeps to itself why there is no stream, and whether a silent
// one is still alive.

// Something on the way that collects what comes lets nothing through for long.
const FIRST_WORD = 3000;
// A heartbeat comes every 15 s.
const SILENCE = 40_000;
const AGAIN_AFTER = [1000, 2000, 5000, 15_000, 30_000];
const BLOCKED_AGAIN_AFTER = [30_000, 300_000];

// All pages are cut off at the same moment; they must not all come back at another.
const scattered = (wait) => wait * (0.5 + Math.random());
const nth = (waits, n) => scattered(waits[Math.min(n, waits.length) - 1]);

export class Stream {
  isLive = false;
  #address;
  #heard;
  #moved;
  #wanted = false;
  #reading = null;
  #timer = 0;
  #failures = 0;
  #blocked = 0;
  #notBefore = 0;

  /**
   * `address()` returns where to listen, `heard(tasks)` takes what an event holds, `moved()` is
   * called when the stream begins or ends.
   */
  constructor({ address, heard, moved }) {
    this.#address = address;
    this.#heard = heard;
    this.#moved = moved;
    addEventListener("online", () => {
      this.#failures = 0;
      this.#plan(0);
    });
  }

  /** Open the stream, or close it. */
  want(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    if (wanted) this.#plan(this.#notBefore - Date.now());
    else this.#close();
  }

  #plan(wait) {
    clearTimeout(this.#timer);
    if (!this.#wanted || this.#reading || wait === Infinity) return;
    this.#timer = setTimeout(() => this.#listen(), Math.max(0, wait));
  }

  #close() {
    clearTimeout(this.#timer);
    this.#reading?.abort();
    this.#reading = null;
    this.isLive = false;
  }

  async #listen() {
    const reading = new AbortController();
    this.#reading = reading;
    const wait = await this.#read(reading);
    // Closed meanwhile, and perhaps opened again: that is another's affair.
    if (this.#reading !== reading) return;
    this.#close();
    this.#notBefore = Date.now() + wait;
    this.#plan(wait);
    this.#moved();
  }

  /** Read until the end. Returns how long to wait before the next attempt. */
  async #read(reading) {
    let watchdog = setTimeout(() => reading.abort("blocked"), FIRST_WORD);
    try {
      const response = await fetch(this.#address(), {
        signal: reading.signal,
        headers: { Accept: "text/event-stream" },
        cache: "no-store",
      });
      if (response.status !== 200 || response.redirected) return this.#refused(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        events.forEach((event) => this.#take(event, reading));
        if (!this.isLive) continue;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => reading.abort("silent"), SILENCE);
      }
    } catch {
      if (reading.signal.reason === "blocked") return nth(BLOCKED_AGAIN_AFTER, ++this.#blocked);
    } finally {
      clearTimeout(watchdog);
    }
    if (this.isLive) this.#failures = 0;
    return nth(AGAIN_AFTER, ++this.#failures);
  }

  #refused(response) {
    response.body?.cancel();
    const seconds = Number(response.headers.get("Retry-After"));
    if (seconds) return scattered(seconds * 1000);
    // This server holds none; or the session has ended, which the next question finds out.
    if (response.status === 204 || response.redirected) return Infinity;
    return nth(AGAIN_AFTER, ++this.#failures);
  }

  #take(event, reading) {
    if (this.#reading !== reading || !event.startsWith("data:")) return;
    const begins = !this.isLive;
    this.isLive = true;
    this.#blocked = 0;
    if (begins) this.#moved();
    // A mistake of theirs is not the stream's.
    queueMicrotask(() => this.#heard(JSON.parse(event.slice(5))));
  }
}

/**
 * Take a turn of this browser's tabs, of which one is enough. `granted` is called when it is
 * ours; what is returned gives it up.
 */
export function takeTurn(name, granted) {
  if (!navigator.locks) {
    granted();
    return () => {};
  }
  const waiting = new AbortController();
  let leave;
  const held = new Promise((resolve) => (leave = resolve));
  const hold = () => {
    granted();
    return held;
  };
  navigator.locks.request(name, { signal: waiting.signal }, hold).catch(() => {});
  return () => {
    waiting.abort();
    leave();
  };
}
