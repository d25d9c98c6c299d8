"""SuperGlobal on descriptors of any model: two arrays in, scores out. No collection, no files.

python demos/refine_your_own_descriptors.py
"""

import numpy as np

from mmrerank.rerankers.superglobal import refine


def main() -> None:
    generator = np.random.default_rng(0)
    group = generator.standard_normal(64)  # what five pictures of one object have in common
    rows = np.stack([group + generator.standard_normal(64) * 1.6 for _ in range(5)] + list(generator.standard_normal((45, 64)) * 1.9))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    query, corpus = rows[0], rows[1:]
    first = np.argsort(-(corpus @ query), kind="stable")
    refined = first[np.argsort(-refine(query, corpus[first], neighbours="adaptive"), kind="stable")]
    for name, order in (("first stage", first), ("refined", refined)):
        ranks = sorted(int(np.flatnonzero(order == position)[0]) + 1 for position in range(4))
        print(f"{name}: the four other pictures of the object stand at ranks {ranks}")


if __name__ == "__main__":
    main()
