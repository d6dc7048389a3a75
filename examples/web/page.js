// SPDX-License-Identifier: MIT
//
// The whole of an imgo client for browsers: the JSON dialect of /sub (docs/manual.md, "The client protocol") and a few
// kinds of call of the HTTP API. A packet is {ver, op, seq, body}; the server answers with arrays of them.

const op = {heartbeat: 2, heartbeatReply: 3, auth: 7, authReply: 8, changeRoom: 12, changeRoomReply: 13};
const heartbeatMs = 30000;
const reconnectMs = [500, 10000]; // the first wait, and the longest
const shownMax = 200;

const $ = id => document.getElementById(id);
let socket = null;
let received = 0;
let attempts = 0;
let timer = 0; // of the heartbeat, or of the next attempt; 0: none
let room = '';

// ---- the HTTP API ----

async function call(method, path, body) {
  const headers = $('key').value ? {Authorization: 'Bearer ' + $('key').value} : {};
  const response = await fetch(path, {method, headers, body});
  const answer = await response.json().catch(() => ({}));
  if (!response.ok)
    throw new Error(answer.error || answer.message || 'HTTP ' + response.status);
  return answer;
}

function randomToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_');
}

async function newToken() {
  const token = randomToken();
  await call('POST', '/1/admin/token/new', new URLSearchParams({uid: $('uid').value, token, expire: 86400}));
  $('token').value = token;
  connect();
}

// A body that is JSON is pushed as it is, anything else as a JSON string.
function messageBody(text) {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}

async function push() {
  const to = document.querySelector('[name=to]:checked').value;
  const target = encodeURIComponent($('target').value);
  const path = {user: '/1/push?uid=' + target, room: '/1/push/room?room=' + target, all: '/1/push/all'}[to];
  await call('POST', path, messageBody($('message').value));
  return to === 'user' ? 'accepted: it arrives now, or when the user comes' : 'accepted: to who is there now';
}

// ---- the connection ----

function stopTimer() {
  clearTimeout(timer); // an interval too
  timer = 0;
}

function say(state, text) {
  $('status').dataset.state = state;
  $('status').textContent = text;
  $('login').textContent = state === 'closed' ? 'Connect' : 'Disconnect';
}

function send(operation, body) {
  if (socket && socket.readyState === WebSocket.OPEN)
    socket.send(JSON.stringify({ver: 1, op: operation, seq: operation, body}));
}

function show(packet) {
  const item = document.createElement('li');
  const add = (tag, text) => item.appendChild(document.createElement(tag)).textContent = text;
  add('time', new Date().toLocaleTimeString([], {hour12: false}));
  add('code', typeof packet.body === 'string' ? packet.body : JSON.stringify(packet.body));
  add('small', 'op ' + packet.op);
  $('messages').prepend(item);
  while ($('messages').children.length > shownMax)
    $('messages').lastChild.remove();
  $('count').textContent = ++received;
}

function loggedIn() {
  attempts = 0;
  stopTimer();
  timer = setInterval(() => send(op.heartbeat, {}), heartbeatMs);
  say('open', 'connected');
  if (room)
    send(op.changeRoom, room);
}

function handle(packet) {
  if (packet.op === op.authReply)
    loggedIn();
  else if (packet.op === op.changeRoomReply)
    $('room-now').textContent = room ? 'in room ' + room : 'in no room';
  else if (packet.op !== op.heartbeatReply)
    show(packet);
}

// What the server meant for good: the token is not valid, the session was ended, or another one of the device replaced it.
const finalCodes = {4001: 'the token is not valid', 4003: 'the session was ended', 4009: 'replaced by a newer session'};

function closed(event) {
  stopTimer();
  socket = null;
  $('room-now').textContent = 'in no room';
  if (finalCodes[event.code]) {
    say('failed', finalCodes[event.code]);
    $('login').textContent = 'Connect';
    return;
  }
  const wait = Math.min(reconnectMs[1], reconnectMs[0] * 2 ** attempts++) * (0.5 + Math.random() / 2);
  say('waiting', 'connection lost, trying again');
  timer = setTimeout(connect, wait);
}

function disconnect() {
  stopTimer();
  if (socket) {
    socket.onclose = null;
    socket.close(1000);
  }
  socket = null;
  attempts = 0;
  $('room-now').textContent = 'in no room';
  say('closed', 'not connected');
}

function connect() {
  disconnect();
  say('waiting', 'connecting');
  socket = new WebSocket($('comet').value);
  socket.onopen = () => send(op.auth, $('token').value);
  socket.onmessage = event => JSON.parse(event.data).forEach(handle);
  socket.onclose = closed;
}

// ---- the page ----

// Any comet of the system will do; the API names some, the least loaded first.
async function findComet() {
  const nodes = await call('GET', '/goim/nodes/weighted?platform=web').then(answer => answer.data, () => null);
  $('comet').value = `ws://${nodes?.nodes[0] ?? location.hostname}:${nodes?.ws_port || 8090}/sub`;
}

function onSubmit(id, action, output) {
  $(id).addEventListener('submit', async event => {
    event.preventDefault();
    try {
      output(await action() || '', false);
    } catch (error) {
      output(error.message, true);
    }
  });
}

function answer(text, bad) {
  $('answer').textContent = text;
  $('answer').classList.toggle('bad', bad);
}

function enter(name) {
  room = name;
  if (socket)
    send(op.changeRoom, name);
  else
    $('room-now').textContent = 'connect first';
}

onSubmit('token-form', newToken, (text, bad) => bad && say('failed', text));
onSubmit('login-form', () => socket || timer ? disconnect() : connect(), () => {});
onSubmit('room-form', () => enter($('room').value), () => {});
onSubmit('push-form', push, answer);
$('leave').addEventListener('click', () => enter(''));
document.querySelectorAll('[name=to]').forEach(choice => choice.addEventListener('change', () => {
  $('target').disabled = choice.value === 'all';
  $('target').value = choice.value === 'room' ? $('room').value : choice.value === 'user' ? $('uid').value : '';
}));
await findComet();
