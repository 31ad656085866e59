// Where the figures come from: the run's first state, then what changed, by server-sent events.

const TOKEN = "nesypr token";
const MOST_POINTS = 3000; // of a table; with more, the thinned history is asked for anew
const AGAIN_MS = [500, 1000, 2000, 5000];

// The token of the address (…#token=…) is kept for this tab and taken out of the address.
export function takeToken() {
  const found = /(?:^#|&)token=([^&/]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(TOKEN, decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname);
}

export async function ask(path, signal) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`api/${path}`, { headers, signal, cache: "no-store" });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ?? `the server answered ${answer.status}`);
  }
  return answer;
}

export const askJson = async (path, signal) => (await ask(path, signal)).json();

// Follows one run. `changed(run)` is called with everything known after each change, `linked`
// with a sentence where the server cannot be reached ("" once it can).
export class Source {
  constructor(name, changed, linked) {
    this.name = name;
    this.changed = changed;
    this.linked = linked;
    this.run = { tables: {}, cursor: null };
    this.failures = 0;
    this.crowded = false;
    this.stopping = new AbortController();
    this.follow();
  }

  stop() {
    this.stopping.abort();
  }

  async follow() {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      try {
        await this.listen(signal);
        if (!this.failures) continue;
      } catch (error) {
        if (signal.aborted) return;
        this.failures += 1;
        this.linked(`No word from the server: ${error.message}. Trying again.`);
      }
      const wait = AGAIN_MS[Math.min(this.failures, AGAIN_MS.length) - 1];
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  // Read the stream until it ends. An EventSource cannot send the token; this is all it does else.
  async listen(signal) {
    const cursor = encodeURIComponent(JSON.stringify(this.run.cursor ?? {}));
    const path = `runs/${encodeURIComponent(this.name)}/events?cursor=${cursor}`;
    const reader = (await ask(path, signal)).body.getReader();
    const decoder = new TextDecoder();
    let kept = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      kept += decoder.decode(value, { stream: true });
      const messages = kept.split("\n\n");
      kept = messages.pop();
      for (const message of messages) {
        const data = message.split("\n").find((line) => line.startsWith("data: "));
        if (data) this.take(JSON.parse(data.slice(6)));
        if (this.crowded) {
          this.crowded = false;
          await reader.cancel();
          return;
        }
      }
    }
  }

  take(news) {
    this.failures = 0;
    this.linked("");
    const run = this.run;
    for (const [name, columns] of Object.entries(news.tables)) {
      const old = run.tables[name];
      if (!old || news.fresh.includes(name)) run.tables[name] = columns;
      else for (const key of Object.keys(columns)) old[key].push(...columns[key]);
      const length = Object.values(run.tables[name])[0]?.length ?? 0;
      if (length > MOST_POINTS) {
        delete news.cursor[name]; // asked for without it, the history comes thinned
        this.crowded = true;
      }
    }
    const { tables: _, fresh: __, ...others } = news;
    Object.assign(run, others);
    run.skew = news.now.time - Date.now() / 1000;
    this.changed(run);
  }
}
