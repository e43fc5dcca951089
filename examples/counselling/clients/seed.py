import asyncio
import websockets
import json

async def test_ai_chat():
    uri = "ws://localhost:8000/ws/session/test_session_123"

    async with websockets.connect(uri) as websocket:
        # AI 응답 요청
        await websocket.send(json.dumps({
            "type": "request_ai_response",
            "data": {
                "message": "안녕하세요, 요즘 우울해요",
                "emotion": "sad",
                "timestamp": 1704902400000
            }
        }))

        print("✅ Request sent")

        # 응답 수신
        full_response = ""
        while True:
            response = await websocket.recv()
            message = json.loads(response)

            if message["type"] == "ai_stream_begin":
                print("🟢 Stream started")

            elif message["type"] == "ai_stream_chunk":
                chunk = message["data"]["chunk"]
                full_response += chunk
                print(f"📁 Chunk: {chunk}")

            elif message["type"] == "ai_stream_complete":
                print(f"✅ Stream complete\n\nFull response:\n{full_response}")
                break

            elif message["type"] == "ai_stream_error":
                print(f"❌ Error: {message['data']['error']}")
                break

asyncio.run(test_ai_chat())
