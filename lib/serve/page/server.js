// What the page asks its server for. Every address is relative: nothing leaves the server.

async function refuse(response) {
  let words = `${response.status} ${response.statusText}`;
  try {
    words = (await response.json()).error ?? words;
  } catch {
    // Not one of our answers: the status has to do.
  }
  throw new Error(words);
}

export async function ask(path, options = {}) {
  const response = await fetch(path, options);
  return response.ok ? response : refuse(response);
}

export const askJSON = async (path, options) => (await ask(path, options)).json();

/** Upload a file; `progress` hears the share that is sent. */
export function upload(file, progress) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", `sessions?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => failed(new Error("the server closed the connection"));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = { error: `${request.status} ${request.statusText}` };
      }
      if (request.status === 200) done(answer);
      else failed(new Error(answer.error));
    };
    request.send(file);
  });
}

/** Events of a tracking, one object each; ending the loop, or aborting, ends the work. */
export async function* events(path, order, signal) {
  const response = await ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/x-ndjson" },
    body: JSON.stringify(order),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line) continue;
        const event = JSON.parse(line);
        if (event.error) throw new Error(event.error);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Save what an address gives as a file; errors are thrown, not saved. */
export async function save(path) {
  const response = await ask(path);
  const told = response.headers.get("content-disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(told)?.[1];
  const name = encoded ? decodeURIComponent(encoded) : /filename="([^"]+)"/.exec(told)?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name ?? "download";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

/** Pictures of a session by frame; the last ones are kept. */
export class Pictures {
  constructor(session) {
    this.session = session;
    this.kept = new Map();
  }

  async get(frame) {
    if (!this.kept.has(frame)) {
      const response = await ask(`sessions/${this.session}/frames/${frame}`);
      const picture = await createImageBitmap(await response.blob());
      this.kept.set(frame, picture);
      if (this.kept.size > 40) {
        const [oldest, old] = this.kept.entries().next().value;
        this.kept.delete(oldest);
        old.close();
      }
    }
    return this.kept.get(frame);
  }
}
