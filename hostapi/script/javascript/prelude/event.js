
export const event = Object.freeze({
  emit: (topic, value) => {
    const v = typeof value === "string" || value instanceof Uint8Array ? value : JSON.stringify(value);
    check(host.event_emit(string(topic), v), `event: emit ${topic}`);
  },
});
