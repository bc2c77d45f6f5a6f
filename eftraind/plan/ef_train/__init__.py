"""The EF-Train paper's own kernel, modelled: its equations, its scheduling, its printed figures.

Y. Tang, X. Zhang, P. Zhou, J. Hu: EF-Train, ACM TODAES 2022 ("the paper" in this package).
"""
