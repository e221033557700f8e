"""The service: a REST interface, a queue of jobs in a worker process, and the web page.

``server`` starts uvicorn with the application of ``app`` and watches the process of ``worker``,
which takes jobs from the queue and runs each in a process group of its own (``run_job``). What is
known of uploads, movies and jobs lies in one SQLite file (``store``); the files lie beside it
(``folders``). Needs the extra ``service``; :mod:`hdsmlm.service.client` needs the core only.
"""
