FROM python:3.13-slim AS install
WORKDIR /app
COPY requirements/runtime.lock requirements/runtime.lock
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.lock

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 fanfare
COPY --from=install /venv /venv
WORKDIR /app
COPY worker.py ./
COPY workflows workflows
COPY activities activities
COPY api api
COPY fanfare fanfare
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER fanfare
CMD ["python", "worker.py"]
