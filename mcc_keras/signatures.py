"""The signature that `help` and `inspect` show of a class whose `__init__` passes keyword arguments on."""

import inspect


class FullSignature:
    """The arguments of a class's `__init__` and of those it passes `**kwargs` to, as the class's `__signature__`.

    An instance has none: `inspect.signature` of a loss is that of its `__call__`, which `tf.function` looks at.

    >>> class Base:
    ...     __signature__ = FullSignature()
    ...     def __init__(self, *, name=None): ...
    >>> class Derived(Base):
    ...     def __init__(self, *, smooth=1.0, **kwargs): ...
    >>> inspect.signature(Derived)
    <Signature (*, smooth=1.0, name=None)>
    """

    def __get__(self, instance, owner):
        if instance is not None:
            raise AttributeError("__signature__")
        parameters = {}
        for base in owner.__mro__:
            if "__init__" not in vars(base):
                continue
            own = dict(list(inspect.signature(base.__init__).parameters.items())[1:])
            passes_on = [name for name, p in own.items() if p.kind is p.VAR_KEYWORD]
            parameters |= {name: p for name, p in own.items() if name not in parameters and name not in passes_on}
            if not passes_on:
                break
        return inspect.Signature(list(parameters.values()))
