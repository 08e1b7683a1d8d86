// Times and amounts for people. Ages go by the server's clock, so a wrong clock here does no harm.

let offset = 0;

// Learn the server's time from an answer, sent and received at these times of this machine (ms).
export function setClock(serverTime, sent, received) {
  offset = Date.parse(serverTime) - (sent + received) / 2;
}

// Seconds since 1970, by the server's clock.
export const now = () => (Date.now() + offset) / 1000;

export const seconds = (text) => (text ? Date.parse(text) / 1000 : null);

const two = (number) => String(Math.floor(number)).padStart(2, "0");

// A duration in seconds; with fractions if `precise`.
export function duration(value, precise = false) {
  const whole = Math.max(0, value);
  if (precise && whole < 0.1) return "< 0.1 s";
  if (precise && whole < 10) return `${whole.toFixed(1)} s`;
  if (whole < 60) return `${Math.floor(whole)} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// How long an answer took, in seconds.
export const latency = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : duration(value, true));

// How long ago, roughly, so that the text next to what one reads does not change each second.
export function ago(time) {
  const passed = now() - time;
  if (passed < 5) return "just now";
  if (passed < 60) return `${Math.floor(passed / 5) * 5} s ago`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min ago`;
  if (passed < 86400) return `${Math.floor(passed / 3600)} h ago`;
  return `${Math.floor(passed / 86400)} d ago`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const NUMBER = new Intl.NumberFormat();

// The time of day, with the date unless it is today.
export function clock(time) {
  const far = Math.abs(now() - time) > 20 * 3600;
  return (far ? FULL : CLOCK).format(time * 1000);
}

export const fullTime = (time) => FULL.format(time * 1000);
export const number = (value) => NUMBER.format(value);
export const decimal = (value) => (value >= 100 ? number(Math.round(value)) : String(Number(value.toFixed(1))));
export const count = (amount, one, many = `${one}s`) => `${number(amount)} ${amount === 1 ? one : many}`;
