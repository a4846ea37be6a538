"""What the processes of a server import, and what they do without."""

import subprocess
import sys
import textwrap


def test_the_parent_needs_neither_torch_nor_the_web_packages():
    script = """
        import sys
        sys.modules.update(dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client")))
        import penumbra.serving.batcher, penumbra.serving.messages, penumbra.serving.pool
        import penumbra.serving.requests, penumbra.serving.uploads, penumbra.serving.worker
        sys.exit("torch" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=60, check=False)
    assert done.returncode == 0


def test_the_engine_needs_no_web_packages():
    script = """
        import sys
        sys.modules.update(dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client")))
        import penumbra.serving.engine
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=90, check=False)
    assert done.returncode == 0
