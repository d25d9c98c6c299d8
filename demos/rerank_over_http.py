"""A rerank service that other programs' clients already speak to: Cohere's SDK, OpenAI's, curl, and the service as a reranker.

python demos/rerank_over_http.py            needs the extra `serve`, and for two of the clients `pip install cohere openai`
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cohere
import openai

from mmrerank import Candidate, Item, Query, make

QUESTION = "Which boat is red?"
DOCUMENTS = ["The harbour is closed in winter.", "A red boat lies at the north quay.", "Boats are inspected every year."]


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """The address of `mmrerank serve`, at a free port."""
    command = [sys.executable, "-m", "mmrerank.cli", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield next(line for line in process.stderr or () if line.startswith("serving on ")).split()[-1]
        finally:
            process.terminate()


def main() -> None:
    with serving() as url:
        reply = cohere.ClientV2(api_key="none", base_url=url).rerank(model="default", query=QUESTION, documents=DOCUMENTS, top_n=1)
        print(f"cohere: {DOCUMENTS[reply.results[0].index]} ({reply.results[0].relevance_score:.3f})")
        models = openai.OpenAI(api_key="none", base_url=f"{url}/v1").models.list()
        print(f"openai: the service has the rerankers {', '.join(model.id for model in models)}")
        body = json.dumps({"query": QUESTION, "texts": DOCUMENTS})
        if shutil.which("curl"):
            command = ["curl", "-s", f"{url}/rerank", "-H", "Content-Type: application/json", "-d", body]
            print(f"curl:   {subprocess.run(command, capture_output=True, text=True, check=True).stdout}")
        part = make(f"rerank_http/{url}/v1/rerank#default", station="rerankers")
        candidates = [Candidate(item=Item(item_id=f"document {n}", text=text)) for n, text in enumerate(DOCUMENTS)]
        print(f"mmrerank: {', '.join(part.rerank(Query(text=QUESTION), candidates).item_ids)}")


if __name__ == "__main__":
    main()
