# API 테스트
curl -X POST http://localhost:8000/api/agent/run-async \
  -H "Content-Type: application/json" \
  -d '{"message": "라네즈 리뷰 분석해줘"}'

# 헬스체크
curl http://localhost:8000/health
