"""Where a provider is. The URL is shown in the banner and in logs, so it holds no credential."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, AnyHttpUrl


def _open(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password:
        raise ValueError("a credential does not belong in the URL: name it as the provider's key")
    return url


BaseUrl: TypeAlias = Annotated[AnyHttpUrl, AfterValidator(_open)]
