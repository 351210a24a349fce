// Node's fetch through the proxy. usage: node fetch.mjs URL; the last line is "ok".
import assert from 'node:assert/strict';

const url = process.argv[2];
const MB = 1 << 20;

// Many at once, over kept connections.
const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => fetch(`${url}/echo?i=${i}`).then((r) => r.json())));
answers.forEach((a, i) => assert.equal(a.path, `/echo?i=${i}`));

// A body as a stream (chunked), and as a buffer.
const stream = new ReadableStream({
  start(c) { this.left = 32; },
  pull(c) { if (this.left-- > 0) c.enqueue(new Uint8Array(MB)); else c.close(); },
});
const streamed = await (await fetch(`${url}/echo`, { method: 'POST', body: stream, duplex: 'half' })).json();
assert.equal(streamed.length, 32 * MB);
assert.ok(streamed.headers.some(([k, v]) => k.toLowerCase() === 'transfer-encoding' && v === 'chunked'));
const put = await (await fetch(`${url}/echo`, { method: 'PUT', body: new Uint8Array(5 * MB) })).json();
assert.equal(put.length, 5 * MB);

// A download as a stream.
let bytes = 0;
for await (const piece of (await fetch(`${url}/download?bytes=${50 * MB}`)).body) bytes += piece.length;
assert.equal(bytes, 50 * MB);

// Server-sent events arrive one by one: each before the app sends the next.
const events = await fetch(`${url}/events?count=5&gap=0.2`);
let seen = 0, text = '';
for await (const piece of events.body) {
  text += new TextDecoder().decode(piece);
  for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
    const [, number, sent] = text.slice(0, end).match(/^data: (\d+) ([\d.]+)$/);
    assert.equal(Number(number), seen++);
    assert.ok(Date.now() / 1000 - Number(sent) < 0.15, 'an event was held back');
  }
}
assert.equal(seen, 5);

// Statuses without a body, and an answer before the body is sent.
assert.equal((await fetch(`${url}/not-modified`)).status, 304);
assert.equal((await fetch(`${url}/echo`, { method: 'HEAD' })).status, 200);
assert.equal((await fetch(`${url}/interim`)).status, 200);

// A client that goes away.
const gone = new AbortController();
const hanging = fetch(`${url}/events?count=1000&gap=0.05&gone`, { signal: gone.signal });
await (await hanging).body.getReader().read();
gone.abort();
console.log('ok');
