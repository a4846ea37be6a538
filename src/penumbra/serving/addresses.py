"""Where a request goes and where it comes from."""

from __future__ import annotations

import ipaddress

from starlette.types import Scope


def path_of(scope: Scope) -> str:
    """Give the path that the routes see: without the prefix that stands before the application.

    Servers with a ``--root-path``, and applications that mount this one, put it before the path;
    what guards a path has to judge the one that is routed.

    Examples:
        >>> path_of({"path": "/api/v1/segment", "root_path": "/api"})
        '/v1/segment'
        >>> path_of({"path": "/v1/segment"}), path_of({"path": "/apiv1", "root_path": "/api"})
        ('/v1/segment', '/apiv1')
    """
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
        (True, True, False)
        >>> is_loopback("localhost"), is_loopback("::ffff:127.0.0.1"), is_loopback("example.org")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_of_network(scope: Scope) -> bool:
    """Tell whether a request came from another machine; what has no address of one did not.

    Examples:
        >>> is_of_network({"client": ("10.0.0.7", 5000)}), is_of_network({"client": None})
        (True, False)
    """
    host = str((scope.get("client") or ("",))[0])
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_loopback(host)
