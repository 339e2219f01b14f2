// OpenAI's client for Node, unmodified, driven line by line like openai_client.py: the same deeds, arguments and answers.

import { createInterface } from 'node:readline';
import OpenAI, { toFile } from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const Route = z.object({ team: z.string(), urgent: z.boolean() });
const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'track',
      description: 'Where an order is',
      parameters: { type: 'object', properties: { order: { type: 'integer' } }, required: ['order'] },
    },
  },
];

async function collected(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

const deeds = {
  async models(client, { model }) {
    const listed = (await collected(client.models.list())).map((one) => one.id);
    return { listed, retrieved: (await client.models.retrieve(model)).id };
  },

  async chat(client, { model, messages, more = {}, headers = {} }) {
    const { data, response } = await client.chat.completions.create({ model, messages, ...more }, { headers }).withResponse();
    const choice = data.choices[0];
    return {
      id: data.id,
      text: choice.message.content,
      calls: (choice.message.tool_calls ?? []).map((call) => [call.function.name, call.function.arguments]),
      finish_reason: choice.finish_reason,
      model: data.model,
      request: response.headers.get('X-Flywheel-Request'),
      tokens: data.usage.total_tokens,
    };
  },

  async stream(client, { model, messages, more = {}, headers = {}, stop_after = null, pause = 0 }) {
    let text = '';
    let reason = null;
    let usages = 0;
    let chunks = 0;
    const calls = new Map();
    const models = new Set();
    const events = await client.chat.completions.create({ model, messages, stream: true, ...more }, { headers });
    for await (const chunk of events) {
      chunks += 1;
      models.add(chunk.model);
      usages += chunk.usage ? 1 : 0;
      for (const choice of chunk.choices) {
        text += choice.delta.content ?? '';
        for (const call of choice.delta.tool_calls ?? []) {
          const [name, args] = calls.get(call.index) ?? ['', ''];
          calls.set(call.index, [name + (call.function.name ?? ''), args + (call.function.arguments ?? '')]);
        }
        reason = choice.finish_reason ?? reason;
      }
      if (stop_after !== null && chunks >= stop_after) break;
      if (pause) await new Promise((resolve) => setTimeout(resolve, pause * 1000));
    }
    const found = [...calls.entries()].sort((one, other) => one[0] - other[0]).map((entry) => entry[1]);
    return { text, calls: found, finish_reason: reason, models: [...models].sort(), usages };
  },

  async tool_round(client, { model, messages, more = { tools: TOOLS } }) {
    const first = (await client.chat.completions.create({ model, messages, ...more })).choices[0].message;
    const results = first.tool_calls.map((call) => ({
      role: 'tool',
      tool_call_id: call.id,
      content: JSON.stringify({ at: JSON.parse(call.function.arguments).order }),
    }));
    const second = await client.chat.completions.create({ model, messages: [...messages, first, ...results] });
    return { calls: first.tool_calls.length, text: second.choices[0].message.content };
  },

  async parse(client, { model, messages }) {
    const answer = await client.chat.completions.parse({ model, messages, response_format: zodResponseFormat(Route, 'route') });
    return answer.choices[0].message.parsed;
  },

  async embeddings(client, { model, inputs }) {
    const plain = await client.embeddings.create({ model, input: inputs, encoding_format: 'float' });
    const answer = await client.embeddings.create({ model, input: inputs });
    return { vectors: answer.data.map((one) => one.embedding), same: plain.data.map((one) => one.embedding), model: answer.model };
  },

  async responses(client, { model, text, more = {} }) {
    const whole = await client.responses.create({ model, input: text, ...more });
    const events = await collected(await client.responses.create({ model, input: text, stream: true, ...more }));
    const deltas = events.filter((event) => event.type === 'response.output_text.delta');
    const last = events[events.length - 1];
    return {
      text: whole.output_text,
      model: whole.model,
      streamed: deltas.map((event) => event.delta).join(''),
      last: [last.type, last.response.model],
    };
  },

  async completions(client, { model, text, more = {} }) {
    const answer = await client.completions.create({ model, prompt: text, ...more });
    const streamed = await collected(await client.completions.create({ model, prompt: text, stream: true, ...more }));
    return { text: answer.choices[0].text, model: answer.model, streamed: streamed.map((one) => one.choices[0].text ?? '').join('') };
  },

  async transcription(client, { model, sound }) {
    const file = await toFile(Buffer.from(sound, 'hex'), 'a b.wav', { type: 'audio/wav' });
    return { text: (await client.audio.transcriptions.create({ model, file })).text };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: deed, url, key, retries = 0, ...asked } = JSON.parse(line);
  const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: retries, timeout: 60000 });
  let told;
  try {
    told = { done: await deeds[deed](client, asked) };
  } catch (error) {
    const { status = null, code = null, type = null } = error;
    told = { raised: { kind: error.constructor.name, status, code, type, message: error.message } };
  }
  process.stdout.write(JSON.stringify(told) + '\n');
}
