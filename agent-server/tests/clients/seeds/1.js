// 클라이언트
const ws = new WebSocket(`ws://localhost:8000/ws/${sessionId}`);
